"""
Jobs and threads
================

A processor has several cores, and a convolution has many output pixels, so the work can be
shared. The question is how to cut it: into pieces small enough to share evenly, large enough to
be worth the trouble, and in such a way that the result does not depend on how many cores there
were.
"""

import heapq

import matplotlib.pyplot as plt
import numpy as np
import torch

from gallery.inside import layer, levels
from gallery.inside.measure import cores, ladder, table
from gallery.inside.source import constant, excerpt

# %%
# Jobs
# ----
#
# torchconv first makes a *plan*: a list of jobs, each some rows of the result, for all output
# channels or for some. (Before them, jobs of a first stage pack the weights.) For our layer (64
# channels in and out, 3 × 3, 56 × 56 pixels) ``csrc/cpu/dense_channels/plan.h`` takes as many rows
# as make the packed weights worth their while, a number of ``csrc/cpu/common/cost_model.h``:

rows = -(-constant("csrc/cpu/common/cost_model.h", "kJobPixels") // 56)
parts = -(-56 // rows)
print(f"{parts} parts of {rows} rows")

assert (rows, parts) == (10, 6)

# %%
# If these are too few to keep all threads at work, jobs share the output channels as well. That
# has its price: each of them loads the same pixels again. So there are no more such pieces than
# the threads need, which are counted here and nowhere else:

print(excerpt("csrc/cpu/common/arithmetic.h", "parts_for_threads", r"^\}"))


def pieces(jobs, threads, most):
    """The same in Python."""

    def busy(count):
        even = count >= 2 * threads and count % threads == 0
        return threads == 1 or count >= 8 * threads or even

    count = 1
    while 2 * count <= most and not busy(jobs * count):
        count *= 2
    return count


blocks = 64 // 16  # of 16 channels
most = -(-blocks // constant("csrc/cpu/common/cost_model.h", "kPieceBlocks"))
for threads in (1, 2, 8):
    print(f"{threads} threads: {parts * pieces(parts, threads, most)} jobs")

assert [parts * pieces(parts, threads, most) for threads in (1, 2, 8)] == [6, 6, 12]

# %%
# Each job computes its sums from the first product to the last. No sum is shared between two
# jobs, so nobody has to add up parts of it in an order that depends on who was first: however the
# layer is cut, the bits are the same. A batch of eight images has eight times as many parts.
#
# Threads
# -------
#
# ``csrc/cpu/run_plan.h`` hands the jobs out. Each thread has its share of them, neighbours in
# memory, as PyTorch's own operators have: what they left in the cache of a core is found there. A
# thread that is done takes jobs of the others, one by one, from their counters:

print(excerpt("csrc/cpu/run_plan.h", "constexpr int64_t kMostShares", r"^\}"))

# %%
# Why not stay with the shares? Because threads are not equally fast: another program may use one
# of the cores. A model of both ways, for the twelve jobs of two images, with a second thread at
# half the speed:


def finish(jobs, speeds):
    """(thread, begin, end) of each job; it goes to the thread that is free first."""
    free = [(0.0, thread) for thread in range(len(speeds))]
    done = []
    for _ in range(jobs):
        begin, thread = heapq.heappop(free)
        done.append((thread, begin, begin + 1 / speeds[thread]))
        heapq.heappush(free, (done[-1][2], thread))
    return done


shared = finish(12, [1, 0.5])
halves = [(t, i / s, (i + 1) / s) for t, s in enumerate([1, 0.5]) for i in range(6)]

figure, axes = plt.subplots(2, 1, figsize=(7, 2.8), sharex=True, layout="constrained")
for axis, what, done in zip(
    axes, ["half of the jobs each", "one by one"], [halves, shared], strict=True
):
    for thread, begin, end in done:
        axis.barh(thread, end - begin, left=begin, color="tab:blue", edgecolor="white")
    axis.set_yticks([0, 1], ["thread 1", "thread 2"])
    axis.invert_yaxis()
    axis.set_title(what, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
axes[1].set_xlabel("time, in jobs of a thread at full speed")
print("halves:", max(end for *_, end in halves), " one by one:", max(end for *_, end in shared))

assert max(end for *_, end in halves) == 12
assert max(end for *_, end in shared) == 8

# %%
# With equal threads, twelve jobs can be shared evenly among 2, 3, 4, 6 or 12 of them. Among 8,
# some have two jobs and some one:

for threads in (1, 2, 4, 8, 12):
    last = max(end for *_, end in finish(12, [1] * threads))
    print(f"{threads:3} threads: {12 / last:4.1f} times as fast")

assert max(end for *_, end in finish(12, [1] * 8)) == 2

# %%
# More and smaller jobs would be shared better, and each would load and pack more for fewer sums.
# The plan wants eight for each thread, or as few as two if all threads get as many.
#
# Measured
# --------
#
# One thread and two, for images of several sizes. The peak is measured for both, too: two cores
# that share power or a cache rarely do twice as much as one, and where other programs run, a
# second thread may get no core at all.

counts = [1, 2] if cores() > 1 else [1]
best = levels.available()[-1]
measured = levels.at_level(best, layer.time_sizes, [2, 14, 56], counts, 0.3)
print("  image  threads        ms     GF/s     peak")
for size, times in measured.items():
    for threads, timed in zip(counts, times, strict=True):
        print(f"{size:3}x{size:<3}{threads:9}", end="")
        print(f"{1e3 * timed.seconds:10.4f}{timed.gflops:9.1f}{timed.peak:9.1f}")
if len(counts) > 1:
    for size, (one, two) in measured.items():
        print(f"{size}x{size}: two threads {one.seconds / two.seconds:.2f} times as fast as one")

# %%
# The smallest layer gains nothing, on purpose. To wake a thread takes some microseconds; below
# 250,000 products a call stays on the thread that made it (``csrc/cpu/common/cost_model.h``).

products = {size: layer.flops(size**2) // 2 for size in measured}
print(products)

assert "kSerialWork = 250e3" in excerpt("csrc/cpu/common/cost_model.h", "kSerialWork =", ";")
assert [count > 250e3 for count in products.values()] == [False, True, True]

# %%
# And the bits are the same, with one thread and with two:

for times in measured.values():
    assert all(np.array_equal(times[0].result, timed.result) for timed in times)

# %%
# The threads are those of PyTorch: ``torch.set_num_threads`` holds for torchconv, too, and there
# is no second pool that competes with the first.

print("PyTorch's threads:", torch.get_num_threads())

# %%
# All steps together
# ------------------
#
# From the ten lines of the first page to both threads, and beside them the matrix product of
# im2col and ``nn.Conv2d``. The last column is the share of the best peak on as many threads. For
# the same table of your machine, run ``python -m gallery.inside.measure``.

steps = ladder(size=56, budget=0.2)
print(table(steps))

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
names = [f"{step.name}, {step.threads} thread{'s' * (step.threads > 1)}" for step in steps]
colors = ["tab:blue" if "torchconv" in step.name else "tab:gray" for step in steps]
bars = axis.barh(names, [step.gflops for step in steps], color=colors)
axis.bar_label(bars, fmt=" %.3g")
axis.set_xscale("log")
axis.set_xlim(1e-3, 1e4)
axis.set_xlabel("GF/s; from line to line ten times as many")
axis.grid(axis="x", alpha=0.3)
axis.invert_yaxis()
axis.spines[["top", "right"]].set_visible(False)
