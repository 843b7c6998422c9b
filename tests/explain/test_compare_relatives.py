"""compare() measures 1-d and transposed layers too."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from tests.explain.test_compare import measured


class Relatives(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Conv1d(3, 8, 5, stride=2, padding=2, padding_mode="circular")
        self.longer = nn.ConvTranspose1d(8, 6, 3, stride=2, groups=2)
        self.larger = parametrizations.weight_norm(nn.ConvTranspose2d(1, 4, 2, stride=2))

    def forward(self, x):
        x = self.line(x)
        x = self.longer(x, output_size=(14,)) + self.longer(x, (13,)).mean()
        return self.larger(self.larger(x[:, None])[:, :1], None)


@pytest.mark.parametrize("converted", [False, True])
def test_relatives_are_measured(converted):
    model, arguments = Relatives(), torch.randn(2, 3, 12)
    with FlopCounterMode(display=False) as counter:
        model(arguments)
    if converted:
        torchconv.convert(model)
    found = measured(model, arguments)
    assert {(row.name, row.shape) for row in found.rows} == {
        ("line", "2x3x12 -> 2x8x6, 5, stride 2"),
        ("longer", "2x8x6 -> 2x6x14, 3, stride 2, 2 groups, transposed"),
        ("longer", "2x8x6 -> 2x6x13, 3, stride 2, 2 groups, transposed"),
        ("larger", "2x1x6x14 -> 2x4x12x28, 2x2, stride 2, transposed"),
        ("larger", "2x1x12x28 -> 2x4x24x56, 2x2, stride 2, transposed"),
    }
    assert not found.left_out and all(row.difference < 1e-6 for row in found.rows)
    assert {row.algorithm for row in found.rows}.isdisjoint({"", "aten"})
    assert 2 * found.macs == counter.get_total_flops()
    for row in torchconv.explain(model, arguments):
        assert any((row.name, row.algorithm) == (each.name, each.algorithm) for each in found.rows)


def test_other_dimensions_have_a_reason():
    found = measured(nn.ConvTranspose3d(1, 1, 1), torch.ones(1, 2, 2, 2))
    assert not found.rows and "no counterpart" in found.left_out[""]
