"""
Why the bits stay the same
==========================

``torchconv`` promises that the result for an image has the same bits in any batch, on any number
of threads, with any instruction set and in either memory format. Most libraries promise a small
error instead. This page shows why sums on computers depend on their order, tries the promise out,
and tells the rules that make it hold.
"""

import math

import numpy as np
import torch

import torchconv
from gallery.inside import layer, levels
from gallery.inside.fused import fused, partial_sums
from gallery.inside.layer import Setting
from gallery.inside.measure import cores

# %%
# Order matters
# -------------
#
# A ``float32`` keeps 24 binary digits. Between 2 to the 24 and 2 to the 25 it can hold even
# numbers only, so there a one gets lost:

big, one = np.float32(2**24), np.float32(1)
print((big + one) - big, (big - big) + one)

assert (big + one) - big == 0
assert (big - big) + one == 1

# %%
# A sum of our layer has 576 products. We add the same ones up in several orders, and look at the
# result as the integer that its 32 bits spell. Two results are equal exactly if these integers
# are; neighbours differ by one.

rng = np.random.default_rng(2)
weights = rng.random(576, np.float32) - np.float32(0.5)
pixels = rng.random(576, np.float32) - np.float32(0.5)


def in_turn(order):
    total = np.float32(0)
    for i in order:
        total = fused(weights[i], pixels[i], total)
    return total


def in_lanes(count):
    """`count` sums side by side, as in the lanes of a vector, and those added up at the end."""
    totals = np.zeros(count, np.float32)
    for i in range(0, 576, count):
        totals = fused(weights[i : i + count], pixels[i : i + count], totals)
    return np.add.accumulate(totals)[-1]


def bits(value):
    return int(np.float32(value).view(np.int32))


sums = {
    "first to last": in_turn(range(576)),
    "last to first": in_turn(range(575, -1, -1)),
    "two threads, half each": in_turn(range(288)) + in_turn(range(288, 576)),
    **{f"{count} lanes": in_lanes(count) for count in (4, 8, 16)},
}
exact = math.fsum(float(w) * float(p) for w, p in zip(weights, pixels, strict=True))
for what, total in sums.items():
    print(f"{what:24}{bits(total):12}  off by {abs(total - exact):.1e}")

assert len({bits(total) for total in sums.values()}) == len(sums)
assert all(abs(total - exact) < 1e-5 for total in sums.values())

# %%
# Six orders, six results, all of them good. This is what usually happens inside a library:
# another vector width, another number of threads, another way to cut a larger batch, and the
# order is another one.
#
# Try it out
# ----------
#
# Our layer, on the same image: alone or as the first of five, on one thread or two, in both
# memory formats, and with each instruction set that this CPU has, in a process of its own. The
# first three numbers of the result, as integers:

threads = [1, 2] if cores() > 1 else [1]
settings = [
    Setting(batch, count, last) for batch in (1, 5) for count in threads for last in (False, True)
]


def show(results, column):
    for level in results:
        for setting, result in zip(settings, results[level], strict=True):
            where = f"{level}, batch {setting.batch}, threads {setting.threads}"
            where += ", channels_last" if setting.channels_last else ""
            print(f"{where:46}", column(result))


ours, theirs = {}, {}  # torchconv, and PyTorch for later
for level in levels.available():
    ours[level], theirs[level] = levels.at_level(level, layer.results_of_both, 14, settings)

show(ours, lambda result: "{:11}{:12}{:12}".format(*result.view(np.int32).flat[:3]))

# %%
# Not only these three: all 12,544 numbers are equal everywhere.

first = ours["portable"][0]

assert first.size == 12_544
for results in ours.values():
    assert len(results) == len(settings)
    assert all(np.array_equal(first.view(np.int32), result.view(np.int32)) for result in results)

# %%
# For comparison, PyTorch's own convolution in the same settings, with the instruction sets of
# oneDNN, the library behind it, limited as far as that goes. How many of the 12,544 numbers
# differ from those of the first setting depends on your machine and on the version of PyTorch. It
# may be none.

first_of_theirs = theirs["portable"][0]
show(theirs, lambda result: f"{np.count_nonzero(result != first_of_theirs):6} differ")

assert all(
    np.allclose(result, first, atol=1e-5) for results in theirs.values() for result in results
)

# %%
# Nothing is wrong with that. But with equal bits a test can ask for equality, and a wrong
# result on another machine cannot hide behind a tolerance.
#
# The rules
# ---------
#
# *One order.* ``SumOrder`` in ``csrc/cpu/common/sum_order.h`` fixes it, for every algorithm. It
# depends on the layer and nothing else. A sum is a few partial sums of about 144 products, which
# keeps its rounding error small.
#
# *Lanes across results, never along a sum.* A wider vector computes more sums at once; each is
# still added up from the first product to the last. The same holds for register tiles, jobs and
# threads: they share out whole sums.
#
# *Fused multiply-adds everywhere.* Where the CPU has no such instruction, a function computes the
# same (``csrc/cpu/simd/scalar.h``).
#
# *Plans that do not know the machine.* They see the shape of one image, not batch, threads or
# instruction set (``csrc/cpu/plan.h``).
#
# *Care with zeros.* Weights times padding are zeros and change nothing, so faster code leaves
# them out, unless a weight is infinite or NaN, for infinity times zero is NaN. And a sum that
# ends as -0 becomes +0 (``csrc/cpu/common/register_tile.h``).
#
# These rules are all that the next lines use. They are numpy, know nothing of the C++ code, and
# give its bits:


def model(image, weight):
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weight), height, width), np.float32)
    for products in partial_sums(len(image), 3, 3):
        sums = np.zeros_like(total)
        for c, r, s in products:
            window = padded[c, r : r + height, s : s + width]
            sums = fused(weight[:, c, r, s, None, None], window, sums)
        total = total + sums  # +0 at first, so that no result is -0
    return total


input, weight = layer.operands(14)

assert np.array_equal(model(input[0].numpy(), weight.numpy()).view(np.int32), first.view(np.int32))

# %%
# What is not promised: the same bits as PyTorch's, and a gradient of the weights that does not
# depend on the batch, for it is a sum over the batch. The gradients do have the same bits on any
# number of threads:


def gradients(count):
    input, weight = (operand.requires_grad_() for operand in layer.operands(14, batch=5))
    loss = layer.on_threads(
        count, lambda: torchconv.conv2d(input, weight, padding=1).square().sum()
    )
    return layer.on_threads(count, lambda: torch.autograd.grad(loss, [input, weight]))


for one_thread, two_threads in zip(gradients(1), gradients(2), strict=True):
    assert torch.equal(one_thread, two_threads)

# %%
# ``tests/kernels/test_same_bits.py`` asks the same questions of every algorithm, for many more
# shapes.
