"""Labelled images, as the example programs read them."""
