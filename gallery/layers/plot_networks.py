"""
LeNet and AlexNet, layer by layer
=================================

Two networks that made history: LeNet-5 read handwritten digits in 1998, AlexNet won the ImageNet
competition of 2012. Both are convolutions, pooling, and fully connected layers at the end.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from examples.models import AlexNet, AlexNetCifar, LeNet

# %%
# A hook on every layer notes the size of its output; parameters and operations are counted. (On
# the device "meta" shapes are computed, and no numbers.)


def layers_of(model, *size):
    rows = []

    def note(layer, inputs, output):
        parameters = sum(each.numel() for each in layer.parameters())
        macs = 0
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            macs = output[0].numel() * layer.weight[0].numel()
        rows.append((type(layer).__name__, list(output.shape[1:]), parameters, macs))

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    model(torch.zeros(1, *size, device="meta"))
    for hook in hooks:
        hook.remove()
    return rows


def show(rows):
    print(f"{'layer':10} {'output':>12} {'parameters':>12} {'MACs':>14}")
    for name, shape, parameters, macs in rows:
        print(f"{name:10} {'x'.join(map(str, shape)):>12} {parameters:12,} {macs:14,}")
    print(f"{'in all':23} {sum(row[2] for row in rows):12,} {sum(row[3] for row in rows):14,}")


# %%
# LeNet
# -----
# What each layer gives, its parameters and its multiply-accumulates (MACs) for one image. The first
# convolution pads 28 × 28 so that the size stays, each pooling halves it, and the second
# convolution takes four rows and columns away. 16 maps of 5 × 5 are 400 numbers for the three fully
# connected layers.

lenet = layers_of(LeNet(torchconv.Conv2d).to("meta"), 1, 28, 28)
show(lenet)

assert [row[1] for row in lenet if row[0] in ("Conv2d", "MaxPool2d", "Flatten", "Linear")] == [
    [6, 28, 28], [6, 14, 14], [16, 10, 10], [16, 5, 5], [400], [120], [84], [10],
]  # fmt: skip
assert sum(row[2] for row in lenet) == 61_706
assert sum(row[3] for row in lenet) == 416_520

# %%
# Most parameters are in the fully connected layers, most work is in the convolutions:

by_conv = [row for row in lenet if row[0] == "Conv2d"]

assert sum(row[2] for row in by_conv) == 2_572
assert sum(row[3] for row in by_conv) == 357_600

# %%
# AlexNet
# -------
# The same plan, much larger: five convolutions and three fully connected layers, 61 million
# parameters and 714 million multiply-accumulates. That is about a thousand times LeNet's
# parameters and 1,700 times its work. (In 2012 it was split into two halves for two GPUs; this is
# its author's later form in one piece.)

alexnet = layers_of(AlexNet(torchconv.Conv2d).to("meta"), 3, 224, 224)
show(alexnet)

assert sum(row[2] for row in alexnet) == 61_100_840
assert round(sum(row[3] for row in alexnet) / 1e6) == 714
assert [row[0] for row in alexnet if row[3]] == ["Conv2d"] * 5 + ["Linear"] * 3
assert round(sum(row[2] for row in alexnet) / sum(row[2] for row in lenet), -2) == 1000
assert round(sum(row[3] for row in alexnet) / sum(row[3] for row in lenet), -2) == 1700

# %%
# For the small images of CIFAR the same five convolutions with kernels of 3 × 3: 23 million
# parameters and 63 million multiply-accumulates.

cifar = layers_of(AlexNetCifar(torchconv.Conv2d).to("meta"), 3, 32, 32)
show(cifar)

assert cifar[-1][1] == [10]
assert round(sum(row[2] for row in cifar) / 1e6) == 23
assert round(sum(row[3] for row in cifar) / 1e6) == 63

# %%
# Where the parameters and the work are. The convolutions have 4 percent of the parameters of either
# network, and do 86 percent of LeNet's work and 92 percent of AlexNet's.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
shares = {}
for axis, column, title in zip(axes, (2, 3), ("parameters", "work"), strict=True):
    share = [
        sum(row[column] for row in rows if row[0] == "Conv2d") / sum(row[column] for row in rows)
        for rows in (lenet, alexnet)
    ]
    axis.barh(["LeNet", "AlexNet"], share, label="convolutions")
    axis.barh(["LeNet", "AlexNet"], [1 - x for x in share], left=share, label="fully connected")
    axis.set_title(f"share of the {title}")
    shares[title] = [round(100 * x) for x in share]
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

assert shares == {"parameters": [4, 4], "work": [86, 92]}

# %%
# PyTorch's own counter agrees, two operations for each multiply-accumulate:

with FlopCounterMode(display=False) as counter:
    AlexNet(torchconv.Conv2d).to("meta")(torch.zeros(1, 3, 224, 224, device="meta"))

assert counter.get_total_flops() == 2 * sum(row[3] for row in alexnet)
