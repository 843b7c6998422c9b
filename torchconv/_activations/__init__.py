"""Convolutions that end with a residual addition and an activation."""
