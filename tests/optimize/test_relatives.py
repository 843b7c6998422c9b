"""What ``optimize`` does with 1-d and transposed layers: torchconv computes them."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.convert.converting import computed_by
from tests.optimize.models import randomised


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv1d(4, 8, 3, stride=2), nn.BatchNorm1d(8), nn.ReLU(), nn.ConvTranspose1d(8, 4, 2)],
        [nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2)],
    ],
    ids=["1d", "2d"],
)
def test_relatives_are_computed_by_torchconv(layers):
    model = randomised(nn.Sequential(*layers))
    image = torch.randn(2, 4, *((9,) if len(layers[0].kernel_size) == 1 else (9, 8)))
    optimised = torchconv.optimize(model, image)
    assert type(optimised[3]) is type(layers[3]) and torchconv.is_converted(optimised[3])
    assert computed_by(optimised, image) == "torchconv"
    assert_near(optimised(image), model(image), 1e-4)
    assert not any(map(torchconv.is_converted, model))
    for row in torchconv.report(optimised):
        assert row.name == "1" or (row.done[-1] == "torchconv" and row.output_size is not None)
    again = torchconv.optimize(optimised, image)  # what was converted is no obstacle
    assert_near(again(image), model(image), 1e-4)


def test_fusion_of_converted_models():
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2)
    model = randomised(nn.Sequential(*layers))
    model.append(nn.Conv2d(4, 4, 1)).append(nn.ReLU()).eval()
    torchconv.convert(model)
    rows = torchconv.report(torchconv.optimize(model, torch.randn(1, 3, 9, 9)))
    assert [row.done for row in rows] == [
        ("BatchNorm", "relu", "torchconv"), ("torchconv",), ("relu", "torchconv"),
    ]  # fmt: skip
