"""compare() sets a fused layer beside the separate steps of PyTorch."""

from typing import get_args

import pytest
import torch

from tests.explain.test_compare import measured
from torchconv._activations.function import Activation
from torchconv._activations.layer import ConvActivation2d


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("activation", [None, *get_args(Activation)])
def test_a_fused_layer_is_compared_with_separate_steps(activation, with_residual):
    layer = ConvActivation2d(4, 4, 3, padding=1, activation=activation, slope=0.25)
    arguments = torch.randn(2, 4, 6, 6), torch.randn(2, 4, 6, 6)
    (row,) = measured(layer, *arguments[: 1 + with_residual]).rows
    parts = ["residual"] * with_residual + [activation] * (activation is not None)
    assert row.ending == ", ".join(parts)
    assert row.shape == ", ".join(["2x4x6x6 -> 2x4x6x6", "3x3", *parts])
    assert row.difference < 1e-6


@pytest.mark.parametrize("residual", [2.0, torch.ones(1, 4, 1, 1), torch.ones(3, 2, 4, 6, 6)])
def test_residuals_of_other_shapes(residual):
    """Which layers of torchconv's own, made by optimize, take."""

    class Adding(ConvActivation2d):
        __module__ = "torchconv._inside"

        def forward(self, input, residual):
            return super().forward(input) + residual

    (row,) = measured(
        Adding(4, 4, 3, padding=1, activation=None), torch.ones(2, 4, 6, 6), residual
    ).rows
    assert row.ending == "residual" and row.difference < 1e-6
    Adding.__module__ = "elsewhere"
    found = measured(Adding(4, 4, 3, padding=1, activation=None), torch.ones(2, 4, 6, 6), residual)
    assert found.left_out[""] == "Adding has a forward of its own"
