r"""
Ten lines that define a convolution
===================================

Everything that torchconv computes is, in the end, this sum:

.. math:: y_{k, p, q} = \sum_{c, r, s} w_{k, c, r, s} \; x_{c, \, p + r, \, q + s}

Here ``c`` is an input channel and ``k`` an output channel, ``p, q`` the row and column of an
output pixel, ``r, s`` those of a weight in its filter. The ten lines below compute it as it
stands. They are slow, and they are what all faster code is compared with.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F

import torchconv
from gallery.inside import layer
from gallery.inside.fused import fused, in_order
from gallery.inside.source import excerpt


def reference(x, w, order, multiply_add):
    filters, channels, height, width = w.shape
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    y = np.zeros((filters, rows, columns), x.dtype)
    for k, p, q in np.ndindex(y.shape):
        total = y.dtype.type(0)
        for c, r, s in order(channels, height, width):
            total = multiply_add(w[k, c, r, s], x[c, p + r, q + s], total)
        y[k, p, q] = total
    return y


# %%
# ``order`` says in which order the products are added, ``multiply_add`` how. Let us begin with
# the obvious: channel after channel, row after row, a multiplication and then an addition.


def as_written(channels, height, width):
    return np.ndindex(channels, height, width)


def multiply_then_add(weight, pixel, total):
    return weight * pixel + total


def torchconv_of(x, w):
    return torchconv.conv2d(torch.from_numpy(x)[None], torch.from_numpy(w))[0].numpy()


# %%
# With whole numbers every sum is exact, whatever its order. The ten lines and torchconv agree to
# the last bit.

random = np.random.default_rng(0)
x = random.integers(-9, 10, (8, 10, 10)).astype(np.float32)
w = random.integers(-9, 10, (4, 8, 3, 3)).astype(np.float32)
y = reference(x, w, as_written, multiply_then_add)
print(y[0].astype(int))

assert y.shape == (4, 8, 8)
assert np.array_equal(y, torchconv_of(x, w))

# %%
# The order of the sums
# ---------------------
#
# With fractions each addition rounds. A ``float32`` has 24 binary digits, and a sum that needs
# more loses its last ones. Another order loses other digits:

x = random.random((8, 10, 10), np.float32) - np.float32(0.5)
w = random.random((4, 8, 3, 3), np.float32) - np.float32(0.5)
ours = torchconv_of(x, w)
y = reference(x, w, as_written, multiply_then_add)
print("different elements:", np.count_nonzero(y != ours), "of", ours.size)
print("largest difference:", np.abs(y - ours).max())

exact = reference(x.astype(np.float64), w.astype(np.float64), as_written, multiply_then_add)
for what, result in [("the ten lines", y), ("torchconv", ours)]:
    print(f"{what} off by at most {np.abs(result - exact).max():.1e}")

assert not np.array_equal(y, ours)
assert np.abs(y - exact).max() < 1e-6
assert np.abs(ours - exact).max() < 1e-6

# %%
# Neither is wrong: both are off by rounding alone. But torchconv promises more than a small
# error, it promises the *same bits* everywhere. So one order is fixed for all of its algorithms.
# It is written down in ``csrc/cpu/common/sum_order.h``: blocks of channels, 16 of them for a 3 × 3
# filter; in a block first the rows ``r``, then the columns ``s`` of the filter, and innermost the
# channels ``c``. About 144 products are summed at a time and such partial sums are added up, so
# that the error does not grow with the number of channels. These eight channels are one block:

order = list(in_order(8, 3, 3))
print(order[:10], "...")

assert order[:10] == [*((c, 0, 0) for c in range(8)), (0, 0, 1), (1, 0, 1)]
assert sorted(order) == list(as_written(8, 3, 3))

# %%
# The second half is how a product is added. Processors have an instruction for it, the *fused
# multiply-add*, which computes ``a * b + c`` and rounds once, not twice.
# ``gallery/inside/fused.py`` imitates it in numpy. With both, the ten lines give the bits of
# torchconv, in every element:

y = reference(x, w, in_order, fused)

assert np.array_equal(y.view(np.int32), ours.view(np.int32))

# %%
# With the right order alone, or fused alone, they do not:

for what, order, multiply_add in [
    ("order as in torchconv, rounded twice", in_order, multiply_then_add),
    ("order as written, rounded once", as_written, fused),
]:
    different = np.count_nonzero(reference(x, w, order, multiply_add) != ours)
    print(f"{what}: {different} of {ours.size} elements differ")

    assert different > 0

# %%
# In C++
# ------
#
# The same loops are in ``csrc/cpu/reference.cpp``. This is the middle of them:

print(excerpt("csrc/cpu/reference.cpp", r"^T in_order\(", "^}"))
print("...")
print(excerpt("csrc/cpu/reference.cpp", r"q = 0; q < shape\.q", "in_order<"))

# %%
# Padding, stride, dilation and groups have come in, and ``to_compute`` for numbers of 16 bits.
# This code takes every shape, it runs where no other algorithm applies, and in the tests every
# other algorithm must give its bits.
#
# What it costs
# -------------
#
# A layer with 64 input and 64 output channels, 3 × 3, on an image of 56 × 56 pixels needs so many
# products:

products = 64 * 64 * 3 * 3 * 56 * 56
print(f"{products:,}")

assert products == 115_605_504
assert 2 * products == layer.flops(56 * 56)

# %%
# Now the clock. The loops of ``gallery/inside/layer.py`` are the same ten lines for plain Python
# numbers, which are faster than numpy's when they come one by one. We let them compute 8 of the
# 3,136 pixels. Then the loops in C++, then torchconv's fastest code, all on one thread:

input, weight = layer.operands(56)
image, filters = layer.padded(input)[0].tolist(), weight.tolist()


def milliseconds(call):
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def conv():
    return layer.direct(input, weight, padding=1)


threads = torch.get_num_threads()
torch.set_num_threads(1)
in_python = milliseconds(lambda: layer.reference(image, filters, 2, 4)) * 56 * 56 / 8
torch.ops.torchconv._force_algorithm("reference")
in_cpp, slow = milliseconds(conv), conv()
torch.ops.torchconv._force_algorithm("")
fastest = min(milliseconds(conv) for _ in range(10))
torch.set_num_threads(threads)
for what, time_taken in [("Python", in_python), ("C++", in_cpp), ("fastest", fastest)]:
    gflops = layer.flops(56 * 56) / time_taken * 1e-6
    print(f"{what:8}{time_taken:10.1f} ms {gflops:8.3f} GF/s")

assert torch.equal(slow, conv())
assert torch.allclose(conv(), F.conv2d(input, weight, padding=1), atol=1e-4)

# %%
# A *GF/s* is a billion multiplications and additions a second. Between the last two lines there
# is no other arithmetic: the same products, in the same order, with the same bits. The next pages
# tell where the time went.
