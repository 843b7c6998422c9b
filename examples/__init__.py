"""Programs that train small networks with torchconv; run them from the checkout."""


class RunError(Exception):
    """Something the user can fix; shown as one sentence instead of a traceback."""
