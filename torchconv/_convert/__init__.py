"""Models of ``torch.nn`` whose convolutions compute with torchconv, and the way back.

``plan.py`` says what has to be replaced in a layer, or why it is left as it is; ``weak_method.py``
is what replaces it. ``registry.py`` knows classes that others wrote, which run inside ``patched``.
"""
