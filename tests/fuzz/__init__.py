"""Random convolutions held to every promise at once; see ``python -m tests.fuzz --help``."""
