"""
Finding a pattern in a row of numbers
=====================================

The simplest convolution has one dimension: a short *kernel* slides over a longer *signal*. At each
position the numbers that lie on top of each other are multiplied, and the products are added.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import torchconv
from torchconv.visualize import animate

# %%
# The signal has a hill in its middle, and the kernel is that hill.

signal = torch.tensor([0, 0, 0, 1, 2, 3, 2, 1, 0, 0])
kernel = torch.tensor([1, 2, 3, 2, 1])

# %%
# A row of numbers is an image of height one. Batch and channels come first: shape ``(1, 1, 1,
# 10)``. With four zeros on each side more (``padding=(0, 4)``) every position counts at which the
# two touch.


def slide(signal, kernel, padding=0):
    image, weight = signal.double().reshape(1, 1, 1, -1), kernel.double().reshape(1, 1, 1, -1)
    return torchconv.conv2d(image, weight, padding=(0, padding)).flatten()


matches = slide(signal, kernel, padding=4)
print([int(value) for value in matches])

assert matches.tolist() == [0, 0, 0, 1, 4, 10, 16, 19, 16, 10, 4, 1, 0, 0]

# %%
# The largest number is 1·1 + 2·2 + 3·3 + 2·2 + 1·1 = 19, where the kernel lies on the hill exactly.
# The output tells *where* a pattern is. To compare a signal with a part of itself is called
# *autocorrelation*.

assert matches.max() == 19
assert int(matches.argmax()) - 4 == 3  # without the padding: where the hill begins in the signal
assert torch.equal(signal[3:8], kernel)

# %%
# The same, one position after the other:

folder = Path(tempfile.mkdtemp())
sliding = animate(signal, kernel, padding=4, path=folder / "pattern.gif")

# %%
# And as bars: the signal above, how well the kernel fits below.

figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4), layout="constrained")
above.bar(range(10), signal, color="tab:blue")
above.set(title="signal", xlim=(-5, 14))
below.bar(range(-4, 10), matches, color="tab:orange")
below.set(
    title="how well the kernel fits", xlabel="position of the kernel's first number", xlim=(-5, 14)
)
