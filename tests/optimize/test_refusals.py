"""What must not be fused is not, the result stays right, and the report says why."""

import copy

import pytest
import torch
from torch import nn

import torchconv
from tests.optimize.models import (
    Code,
    assert_left,
    conv_norm_act,
    done,
    reason,
)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda norm: None, "has 4 channels"),
        (lambda norm: norm.__init__(3, track_running_stats=False), "track_running_stats"),
    ],
)
def test_norms_without_statistics(change, why):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(4)).eval()
    change(model[1])
    model.eval()
    optimised = torchconv.optimize(model)
    assert done(optimised)["0"] == [] and why in reason(optimised, "0")
    assert type(optimised[1]) is nn.BatchNorm2d


def test_norms_that_lost_their_statistics():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[1].running_mean = model[1].running_var = None
    assert_left(model, "no running statistics", name="0")


def test_a_module_in_training_mode_is_named():
    model = Code(conv_norm_act).eval()
    model.norm.train()
    with pytest.raises(RuntimeError, match=r"its module 'norm' is in training mode.*eval\(\)"):
        torchconv.optimize(model)
    with pytest.raises(RuntimeError, match="it is in training mode"):
        torchconv.optimize(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": torch.int32}, TypeError),
        ({"dtype": "float32"}, TypeError),
        ({"memory_format": "channels_last"}, TypeError),
        ({"memory_format": torch.channels_last_3d}, RuntimeError),
    ],
)
def test_wrong_options(options, error):
    model = Code(conv_norm_act).eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error):
        torchconv.optimize(model, inplace=True, **options)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    with pytest.raises(TypeError, match="model must be a Module"):
        torchconv.optimize([model])
