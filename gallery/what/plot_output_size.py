r"""
How large the output is
=======================

For an input of size :math:`N`, a kernel of :math:`k`, padding :math:`p`, stride :math:`s` and
dilation :math:`d`, in each direction:

.. math:: N_{out} = \left\lfloor \frac{N + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1

The kernel covers :math:`d(k - 1) + 1` places, the first window begins at the first place of the
padded input, and every step of the stride that still fits makes one more.
"""

import matplotlib.pyplot as plt
import torch

import torchconv
from torchconv import conv2d_output_size

# %%
# ``conv2d_output_size`` computes it, for ints and for pairs. A 5 × 5 kernel on 32 × 32 leaves 28 ×
# 28: without padding and stride it is N - k + 1.

print(conv2d_output_size(32, 5))

assert conv2d_output_size(32, 5) == (28, 28)
assert conv2d_output_size((6, 6), 3, padding=1) == (6, 6)
assert conv2d_output_size((224, 224), 7, stride=2, padding=3) == (112, 112)
assert conv2d_output_size((7, 9), (3, 5), dilation=(2, 1)) == (3, 5)

# %%
# It is the size that a layer really gives:

for size, kernel, stride, padding, dilation in [
    (32, 5, 1, 0, 1),
    (13, 3, 2, 1, 1),
    (20, 3, 3, 2, 4),
]:
    layer = torchconv.Conv2d(1, 1, kernel, stride, padding, dilation)
    output = layer(torch.zeros(1, 1, size, size))
    expected = conv2d_output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)

    assert tuple(output.shape[2:]) == expected

# %%
# The division is rounded down: what the last window does not reach is dropped. With stride 2 a 3 ×
# 3 kernel never sees the last column of an image of width 6, whatever stands there.

image = torch.rand(1, 1, 6, 6)
changed = image.clone()
changed[..., -1] = 100
kernel = torch.rand(1, 1, 3, 3)

assert conv2d_output_size(6, 3, stride=2) == conv2d_output_size(5, 3, stride=2) == (2, 2)
assert torch.equal(
    torchconv.conv2d(image, kernel, stride=2), torchconv.conv2d(changed, kernel, stride=2)
)

# %%
# A padding of (k - 1) / 2 keeps the size for odd kernels, and ``padding="same"`` finds it for all.

for k in (1, 3, 5, 7):
    assert conv2d_output_size(28, k, padding=(k - 1) // 2) == (28, 28)
assert conv2d_output_size(28, 4, padding="same") == (28, 28)

# %%
# A window that does not fit even once is an error that says so:

try:
    conv2d_output_size(4, 5)
except ValueError as error:
    print(error)
else:
    raise AssertionError("a kernel of 5 does not fit into 4")

# %%
# What stride and kernel make of an input of 32:

figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
for stride in (1, 2, 4):
    sizes = [conv2d_output_size(32, k, stride=stride)[0] for k in range(1, 33)]
    axis.step(range(1, 33), sizes, where="mid", label=f"stride {stride}")
axis.set(xlabel="size of the kernel", ylabel="size of the output", title="Input of 32, no padding")
axis.legend()
