"""
Where the channels lie in memory
================================

Keras and many texts write an image as (height, width, channels), PyTorch as (channels, height,
width). In memory both are possible: ``channels_last`` keeps the channels of a pixel side by side,
under the same shape.
"""

import time

import torch

import torchconv

# %%
# A batch of twelve colour images as a text of Keras has it, and the layer it gives it to: 64
# filters of 3 × 3, padding "same". (In ``bfloat16``, so that it needs half the memory.)

photographs = torch.rand(12, 224, 224, 3).bfloat16()
layer = torchconv.Conv2d(3, 64, 3, padding="same", dtype=torch.bfloat16)

assert layer.weight.shape == (64, 3, 3, 3)
assert sum(parameter.numel() for parameter in layer.parameters()) == (3 * 3 * 3 + 1) * 64 == 1792

# %%
# ``permute`` writes the shape in PyTorch's order and moves nothing: the result is a channels_last
# tensor.

batch = photographs.permute(0, 3, 1, 2)

assert batch.shape == (12, 3, 224, 224)
assert batch.is_contiguous(memory_format=torch.channels_last)
assert batch.data_ptr() == photographs.data_ptr()

# %%
# The layer computes in that order, and its output has it, too. Back in Keras's order, again
# without moving anything, it is (12, 224, 224, 64).

with torch.inference_mode():
    maps = layer(batch)

assert maps.shape == (12, 64, 224, 224)
assert maps.is_contiguous(memory_format=torch.channels_last)
assert maps.permute(0, 2, 3, 1).shape == (12, 224, 224, 64)
assert maps.permute(0, 2, 3, 1).is_contiguous()

# %%
# Strides tell how far apart neighbours are. In channels_last the next channel is one number away
# and the next pixel three; otherwise the next pixel is one away and the next channel a whole
# plane.

small = torch.rand(1, 3, 4, 5)

assert small.stride() == (60, 20, 5, 1)
assert small.contiguous(memory_format=torch.channels_last).stride() == (60, 1, 15, 3)

# %%
# For torchconv it is the same layer. The numbers are the same to the last bit, for each sum is
# formed in one order whatever the memory looks like:

dense = torchconv.Conv2d(16, 32, 3, padding=1)
images = torch.randn(2, 16, 20, 20)
with torch.inference_mode():
    one = dense(images)
    other = dense(images.contiguous(memory_format=torch.channels_last))

assert torch.equal(one.view(torch.int32), other.contiguous().view(torch.int32))

# %%
# ``nn.Conv2d`` gives the same numbers up to rounding:

with torch.inference_mode():
    expected = torch.nn.functional.conv2d(images, dense.weight, dense.bias, padding=1)

assert torch.allclose(one, expected, atol=1e-5)

# %%
# Which is faster depends on the layer and on the machine. Here is each order on yours, the least of
# 20 times. A whole model is converted with ``model.to(memory_format=torch.channels_last)``.


def milliseconds(layer, images):
    times = []
    with torch.inference_mode():
        for _ in range(20):
            start = time.perf_counter()
            layer(images)
            times.append(time.perf_counter() - start)
    return 1e3 * min(times)


layers = {
    "3 to 64 channels, 3 × 3": torchconv.Conv2d(3, 64, 3, padding=1),
    "64 to 64 channels, 3 × 3": torchconv.Conv2d(64, 64, 3, padding=1),
    "64 to 64 channels, 1 × 1": torchconv.Conv2d(64, 64, 1),
    "64 channels, depthwise 3 × 3": torchconv.Conv2d(64, 64, 3, padding=1, groups=64),
}
for name, each in layers.items():
    planes = torch.rand(1, each.in_channels, 56, 56)
    pixels = planes.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(each(planes), each(pixels))
    print(
        f"{name:30} planes {milliseconds(each, planes):6.3f} ms,"
        f" channels_last {milliseconds(each, pixels):6.3f} ms"
    )
