"""Whole models in inference, beside other runtimes: ``networks`` by ``subjects`` makes ``rows``."""
