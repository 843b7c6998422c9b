"""Automatic mixed precision in training: autocast beside nn.Conv2d, and GradScaler."""

import copy

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_all_near


def build():
    """Three layers, the second of which is used twice."""
    torch.manual_seed(1)
    return nn.ModuleList([nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 2, 1)])


def forward(model, images):
    first, twice, last = model
    return last(twice(twice(first(images).tanh()).tanh()).tanh())


def steps(model, dtype, start_scale, infinite_at=None):
    """The scale, the gradients and the weights after each of three steps, exact ones in float64."""
    kept = next(model.parameters()).dtype
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=start_scale, growth_interval=2)
    found = []
    for step in range(3):
        torch.manual_seed(step)
        images = torch.randn(2, 3, 9, 8).to(kept)
        if step == infinite_at:
            images[0, 0, 0, 0] = torch.inf
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not kept):
            output = forward(model, images)
            loss = output.to(kept).pow(2).mean()
        assert output.dtype is dtype
        scaler.scale(loss).backward()
        assert all(p.grad.dtype is kept for p in model.parameters())
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        gradients = [p.grad.to(torch.float64, copy=True) for p in model.parameters()]
        weights = [p.detach().to(torch.float64, copy=True) for p in model.parameters()]
        found.append((scaler.get_scale(), gradients, weights))
    return found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("infinite_at", [None, 1])
def test_a_scaler_takes_and_skips_the_steps_that_it_does_with_nn(dtype, infinite_at):
    """The step is skipped and the scale halved where a gradient is infinite."""
    model = build()
    converted = torchconv.convert(copy.deepcopy(model))
    assert all(map(torchconv.is_converted, converted))
    exact = steps(copy.deepcopy(model).double(), torch.float64, 1024.0, infinite_at)
    results = [steps(each, dtype, 1024.0, infinite_at) for each in (converted, model)]
    tolerance = 3e-3 if dtype is torch.float16 else 1.5e-2
    for step, (actual, theirs, expected) in enumerate(zip(*results, exact, strict=True)):
        assert actual[0] == theirs[0] == expected[0]
        assert_all_near(actual[2], expected[2], tolerance)
        if step != infinite_at:
            assert_all_near(actual[1], expected[1], tolerance)
    scales = [scale for scale, *_ in results[0]]
    assert scales == ([1024, 2048, 2048] if infinite_at is None else [1024, 512, 512])
    first, second, third = (weights for *_, weights in results[0])
    assert all(map(torch.equal, first, second)) == (infinite_at == 1)
    assert not any(map(torch.equal, second, third))
