"""The operators in Python: who defines them, their derivatives, shapes without data, ``vmap``."""
