"""
Activation layers
=================

Between two convolutions stands something that is not linear. Without it the two would be one.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

import torchconv

# %%
# Two linear layers are one
# -------------------------
# Two convolutions in a row, 3 × 3 each, are a single convolution of 5 × 5. Its kernel is the first
# one convolved with the second.

torch.manual_seed(0)
first, second = torch.randn(2, 1, 1, 3, 3).double().unbind(0)
image = torch.randn(1, 1, 12, 12).double()
together = torchconv.conv2d(first, second.flip(2, 3), padding=2)

assert together.shape == (1, 1, 5, 5)
assert torch.allclose(
    torchconv.conv2d(torchconv.conv2d(image, first), second), torchconv.conv2d(image, together)
)

# %%
# With a ReLU between them they are not. It sets what is negative to zero, so that the sum of two
# images no longer gives the sum of the two maps.

assert torch.relu(torch.tensor([-2.0, -0.5, 0, 3])).tolist() == [0, 0, 0, 3]


def network(image):
    return torchconv.conv2d(torch.relu(torchconv.conv2d(image, first)), second)


other = torch.randn_like(image)

assert not torch.allclose(network(image + other), network(image) + network(other))

# %%
# The usual ones
# --------------
# ReLU is cheap, and its slope is one wherever it is not zero. Sigmoid and tanh are flat on both
# sides: their gradients vanish. GELU and SiLU are smooth versions of ReLU.

x = torch.linspace(-4, 4, 801, requires_grad=True)
activations = [nn.ReLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU()]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
slopes = {}
for activation in activations:
    name = type(activation).__name__
    y = activation(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    slopes[name] = slope
    axes[0].plot(x.detach(), y.detach(), label=name)
    axes[1].plot(x.detach(), slope, label=name)
axes[0].set_title("activation")
axes[1].set_title("its slope")
axes[0].set_ylim(-1.5, 3)
axes[0].legend()

assert slopes["ReLU"].unique().tolist() == [0, 1]
assert round(float(slopes["Sigmoid"].max()), 2) == 0.25
assert float(slopes["Tanh"][-1]) < 0.002

# %%
# Vanishing gradients
# -------------------
# Through twelve layers the slopes multiply. With sigmoids, at most 0.25 each, next to nothing of
# the gradient reaches the first layer; with ReLU it does.


def gradient_of_first_layer(activation):
    torch.manual_seed(0)
    layers = [torchconv.Conv2d(8, 8, 3, padding=1) for _ in range(12)]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    maps = torch.randn(4, 8, 16, 16)
    for layer in layers:
        maps = activation(layer(maps))
    maps.square().mean().backward()
    return float(layers[0].weight.grad.abs().mean())


gradients = {type(a).__name__: gradient_of_first_layer(a) for a in (nn.ReLU(), nn.Sigmoid())}
print({name: f"{value:.1e}" for name, value in gradients.items()})

assert gradients["Sigmoid"] < gradients["ReLU"] / 1000

# %%
# An activation has no weights to learn and works on each number alone. If it never falls, as ReLU,
# it may stand before or after a max-pooling. GELU falls a little below zero, and there it matters:

maps = torch.randn(1, 8, 16, 16)
pool = nn.MaxPool2d(2)

assert not any(list(activation.parameters()) for activation in activations)
assert torch.equal(pool(torch.relu(maps)), torch.relu(pool(maps)))
assert not torch.allclose(pool(nn.functional.gelu(maps)), nn.functional.gelu(pool(maps)))
