"""Gradients of single samples of a batch: their norms, and what Opacus is told."""
