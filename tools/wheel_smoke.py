"""Tries an installed torchconv: `python wheel_smoke.py`, from a folder that is not the repository.

It needs nothing but torch and torchconv, so that any environment can run it.
"""

from __future__ import annotations

import copy
import os
from itertools import product
from pathlib import Path

import torch
from torch import nn

LAYERS = {
    "dense": dict(in_channels=8, out_channels=32, kernel_size=3, padding=1),
    "first": dict(in_channels=3, out_channels=16, kernel_size=7, stride=2, padding=3),
    "pointwise": dict(in_channels=16, out_channels=24, kernel_size=1),
    "depthwise": dict(in_channels=32, out_channels=32, kernel_size=5, padding=2, groups=32),
    "grouped": dict(in_channels=16, out_channels=16, kernel_size=3, groups=4, bias=False),
}
FORMATS = (torch.contiguous_format, torch.channels_last)


def agrees_with_torch(kind: str, memory_format: torch.memory_format) -> None:
    """Forward and backward in float32 beside nn.Conv2d in float64, and the bits of one sample."""
    import torchconv

    torch.manual_seed(0)
    layer = torchconv.Conv2d(**LAYERS[kind]).to(memory_format=memory_format)
    exact = nn.Conv2d(**LAYERS[kind]).double()
    exact.load_state_dict(layer.state_dict())
    images = torch.randn(4, layer.in_channels, 19, 23).to(memory_format=memory_format)
    images.requires_grad_()
    images64 = images.detach().double().requires_grad_()
    result, result64 = layer(images), exact(images64)
    grad = torch.randn_like(result)
    result.backward(grad)
    result64.backward(grad.double())
    pairs = [(result, result64), (images.grad, images64.grad)]
    pairs += [(p.grad, exact.get_parameter(name).grad) for name, p in layer.named_parameters()]
    for ours, theirs in pairs:
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < 1e-5, f"{kind}, {memory_format}: off by {error:.1e}"
    for index in range(len(images)):
        alone = layer(images[index : index + 1])
        assert same_bits(alone, result[index : index + 1]), f"{kind}: other bits in a batch"


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Also the signs of zeros."""
    return torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


def converts_a_model() -> None:
    import torchconv

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    converted = torchconv.convert(copy.deepcopy(model))
    assert all(torchconv.is_converted(converted[index]) for index in (0, 2))
    images = torch.randn(2, 3, 12, 12)
    torch.testing.assert_close(converted(images), model(images))


def main() -> None:
    os.environ["TORCHCONV_REQUIRE_NATIVE"] = "1"
    import torchconv

    home = Path(torchconv.__file__).parent
    assert "site-packages" in home.parts, f"this is no installed torchconv: {home}"
    for kind, memory_format in product(LAYERS, FORMATS):
        agrees_with_torch(kind, memory_format)
    converts_a_model()
    print(torchconv.show_config())
    print(f"wheel_smoke: {len(LAYERS)} layers, {len(FORMATS)} memory formats, convert: all right")


if __name__ == "__main__":
    main()
