r"""
What a layer costs
==================

A convolution makes :math:`N \cdot K \cdot P \cdot Q` outputs, and each takes :math:`C / g \cdot R
\cdot S` multiplications and as many additions: *multiply-accumulates*, MACs for short. A MAC
counts as two floating-point operations, FLOPs.
"""

import time

import matplotlib.pyplot as plt
import torch
from torch.utils.flop_counter import FlopCounterMode

import torchconv


def macs(layer, input):
    k, c, r, s = layer.weight.shape  # c: channels of one group
    n, _, p, q = layer(input).shape
    return n * k * p * q * c * r * s


def flops(*layers, input):
    with FlopCounterMode(display=False) as counter:
        for layer in layers:
            input = layer(input)
    return counter.get_total_flops()


# %%
# A layer from the middle of a network: 64 channels of 56 × 56 in and out, 3 × 3. PyTorch's counter
# and the formula agree. Its parameters are its weights, and with a bias one more for each filter.

images = torch.rand(1, 64, 56, 56)
dense = torchconv.Conv2d(64, 64, 3, padding=1, bias=False)
print(f"{macs(dense, images):,} MACs, {flops(dense, input=images):,} FLOPs")

assert macs(dense, images) == 56 * 56 * 64 * 64 * 9 == 115_605_504
assert flops(dense, input=images) == 2 * macs(dense, images)
assert dense.weight.numel() == 64 * 64 * 3 * 3 == 36_864
assert sum(each.numel() for each in torchconv.Conv2d(64, 64, 3).parameters()) == 36_864 + 64

# %%
# Bytes
# -----
# It reads 64 · 56 · 56 numbers and 36,864 weights and writes 64 · 56 · 56 numbers: 1.75 MB in
# ``float32``. That is 132 operations a byte. A processor core does some tens of operations in the
# time in which memory brings one byte, so this layer is limited by arithmetic, if it is written
# well.

traffic = 4 * (images.numel() + dense.weight.numel() + images.numel())
print(f"{traffic:,} bytes, {flops(dense, input=images) / traffic:.0f} operations a byte")

assert round(traffic / 1e6, 2) == 1.75
assert round(flops(dense, input=images) / traffic) == 132

# %%
# Two small kernels or a large one
# --------------------------------
# Two layers of 3 × 3 see as much as one of 5 × 5, for 72 percent of the work.

large = torchconv.Conv2d(64, 64, 5, padding=2, bias=False)
ratio = flops(dense, dense, input=images) / flops(large, input=images)

assert ratio == 18 / 25 == 0.72

# %%
# Depthwise separable
# -------------------
# MobileNet filters each channel by itself and mixes the channels afterwards with 1 × 1: about an
# eighth of the work.

depthwise = torchconv.Conv2d(64, 64, 3, padding=1, groups=64, bias=False)
pointwise = torchconv.Conv2d(64, 64, 1, bias=False)
separable = flops(depthwise, pointwise, input=images)

assert separable == 2 * 56 * 56 * 64 * (9 + 64)
assert round(separable / flops(dense, input=images), 3) == 0.127

# %%
# The depthwise part has 2.2 operations a byte, 59 times fewer than the dense layer. It rather
# waits for memory, so expect it to take more time than its number of operations says.

moved = 4 * (2 * images.numel() + depthwise.weight.numel())

assert round(flops(depthwise, input=images) / moved, 1) == 2.2
assert (
    round((flops(dense, input=images) / traffic) / (flops(depthwise, input=images) / moved)) == 59
)

# %%
# Measured here, the least time of 20 runs of each. These numbers are your machine's.


def seconds(layer):
    with torch.inference_mode():
        layer(images)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            layer(images)
            times.append(time.perf_counter() - start)
    return min(times)


layers = {"3 × 3": dense, "5 × 5": large, "depthwise": depthwise, "1 × 1": pointwise}
times = {name: seconds(layer) for name, layer in layers.items()}
for name, layer in layers.items():
    work, milliseconds = flops(layer, input=images) / 1e6, times[name] * 1e3
    rate = work / milliseconds  # million operations a millisecond: GFLOP/s
    print(f"{name:10} {work:6.1f} MFLOP {milliseconds:7.3f} ms {rate:7.1f} GFLOP/s")

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].bar(list(layers), [flops(layer, input=images) / 1e6 for layer in layers.values()])
axes[0].set_title("million operations")
axes[1].bar(list(times), [value * 1e3 for value in times.values()], color="tab:orange")
axes[1].set_title("milliseconds")

# %%
# Training
# --------
# The gradient of the input and that of the weight are convolutions, too, of the same number of
# operations each: a training step costs three times the forward pass.

images.requires_grad_()
with FlopCounterMode(display=False) as counter:
    dense(images).sum().backward()

assert counter.get_total_flops() == 3 * flops(dense, input=images.detach())
