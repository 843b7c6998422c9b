"""Relatives of the 2-d convolution, computed by its three operators.

A 1-d convolution is a 2-d one of images with one row. A transposed convolution is the gradient of
a convolution's input, and its own gradients are the other two operators, so that derivatives of
every order, ``torch.func`` and compilers find what they know from ``conv2d``. On a GPU all of them
are PyTorch's own.
"""
