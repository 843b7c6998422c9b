"""``torchconv.conv2d_output_size``: the sizes of outputs, and what it refuses."""

import pytest
import torch

import torchconv
from tests.api.test_functional import GEOMETRIES


def test_output_size():
    assert torchconv.conv2d_output_size(32, 5) == (28, 28)
    assert torchconv.conv2d_output_size((10, 7), (3, 2), (2, 3), (1, 0), (2, 1)) == (4, 2)
    assert torchconv.conv2d_output_size(224, 3, padding="same") == (224, 224)
    for bad in (
        dict(input_size=4, kernel_size=5),
        dict(input_size=(9, 4), kernel_size=3, dilation=2),
        dict(input_size=4, kernel_size=0),
        dict(input_size=4, kernel_size=1, stride=0),
        dict(input_size=4, kernel_size=1, padding=-1),
        dict(input_size=4, kernel_size=3, padding="same", stride=0),
        dict(input_size=4, kernel_size=3, padding="foo"),
        dict(input_size=(4, 4, 4), kernel_size=3),
        dict(input_size=4, kernel_size=(3, 3, 3)),
        dict(input_size=4, kernel_size=3, stride=(1, 1, 1)),
        dict(input_size=4, kernel_size=3, padding=()),
        dict(input_size=4, kernel_size=3, dilation=2**62),
        dict(input_size=4, kernel_size=3, dilation=2**70),
    ):
        with pytest.raises(ValueError, match=r"^conv2d_output_size\(\): .*(got|'foo')"):
            torchconv.conv2d_output_size(**bad)
    for bad in (dict(kernel_size=1.5), dict(kernel_size=1, padding=None)):
        with pytest.raises(TypeError, match=r"^conv2d_output_size\(\): (kernel_size|padding)"):
            torchconv.conv2d_output_size(4, **bad)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_output_size_is_the_size_of_the_output(geometry):
    geometry = {name: value for name, value in geometry.items() if name != "groups"}
    output = torchconv.conv2d(torch.zeros(1, 1, 17, 14), torch.zeros(1, 1, 2, 3), **geometry)
    assert output.shape[2:] == torchconv.conv2d_output_size((17, 14), (2, 3), **geometry)
