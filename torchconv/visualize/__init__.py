"""Pictures of convolutions, of networks and of training runs.

An optional part: ``pip install 'torchconv[visualize]'`` brings matplotlib and Pillow, and
``import torchconv`` alone imports none of it. Every function but :func:`animate` returns a
:class:`matplotlib.figure.Figure`, which the caller saves; none touches pyplot's state. Each takes
``theme="light"`` or ``"dark"``.

>>> import torch
>>> from torchconv import visualize
>>> figure = visualize.filters(torch.nn.Conv2d(1, 6, 5))
>>> figure.savefig("filters.png")  # doctest: +SKIP
"""

try:
    import matplotlib  # noqa: F401
    import PIL  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"torchconv.visualize needs matplotlib and Pillow ({error}); "
        "run: pip install 'torchconv[visualize]'"
    ) from None

from torchconv.visualize._animate import animate
from torchconv.visualize._confusion import confusion
from torchconv.visualize._curves import curves
from torchconv.visualize._feature_maps import feature_maps
from torchconv.visualize._field import ReceptiveField, compute_receptive_field
from torchconv.visualize._field_figure import receptive_field
from torchconv.visualize._filters import filters

__all__ = [
    "ReceptiveField",
    "animate",
    "compute_receptive_field",
    "confusion",
    "curves",
    "feature_maps",
    "filters",
    "receptive_field",
]
