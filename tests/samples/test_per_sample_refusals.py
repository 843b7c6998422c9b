"""What ``per_sample_grad_norms`` refuses rather than return a wrong norm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchconv import per_sample_grad_norms

LOSS = nn.CrossEntropyLoss(reduction="none")


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


class Elsewhere(Twice):
    def forward(self, x):
        return F.linear(x, self.layer.weight)


class Folded(Twice):
    def forward(self, x):
        return self.layer(x.reshape(-1, 2, 4)).reshape(len(x), -1)


class Checkpointed(Twice):
    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(self.layer, x, use_reentrant=True)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x * self.scale


def shared():
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    layers[1].weight = layers[0].weight
    return layers


REFUSED = {
    "is called twice": Twice(),
    "layer has parameters but is not called": Elsewhere(),
    "not from 4 samples": Folded(),
    "gradients are off, perhaps in a checkpoint": Checkpointed(),
    r"no rule for the parameters \['scale'\] of the model itself \(Own\)": Own(),
    "0 and 1 share a parameter": shared(),
    r"no rule for the parameters .*weight_g": nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4))),
    r"no rule for the parameters \['bias'\] of 0 \(ParametrizedLinear\)": nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    ),
    "no rule for the parameters .*weight_ih_l0": nn.LSTM(4, 4),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("message", REFUSED)
def test_models_without_a_rule(message):
    with pytest.raises(NotImplementedError, match=message):
        per_sample_grad_norms(REFUSED[message], LOSS, torch.randn(4, 4), torch.arange(4))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False).eval(),
        nn.InstanceNorm2d(3, track_running_stats=True),
    ],
    ids=["training", "without parameters", "never tracks", "instances, tracked"],
)
def test_statistics_of_the_whole_batch_are_refused(layer):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), layer, nn.Flatten())
    with pytest.raises(RuntimeError, match=r"1 \((Batch|Instance)Norm2d\) computes with the stat"):
        per_sample_grad_norms(model, LOSS, torch.randn(4, 3, 2, 2), torch.arange(4))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_the_whole_batch_are_refused(reduction):
    loss = nn.CrossEntropyLoss(reduction=reduction)
    with pytest.raises(
        ValueError, match=r"of shape \(4,\), but got shape \(\); .*reduction='none'"
    ):
        per_sample_grad_norms(nn.Linear(3, 4), loss, torch.randn(4, 3), torch.arange(4))
    with pytest.raises(ValueError, match="but got float"):
        per_sample_grad_norms(nn.Linear(3, 4), lambda x, y: 1.0, torch.randn(4, 3), None)


@pytest.mark.parametrize("inputs", [(), torch.tensor(1.0), ("text",)], ids=str)
def test_inputs_without_samples_are_refused(inputs):
    with pytest.raises(TypeError, match="inputs must begin with a batch of samples, but got "):
        per_sample_grad_norms(nn.Linear(3, 4), LOSS, inputs, torch.arange(4))


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference mode"):
        per_sample_grad_norms(nn.Linear(3, 4), LOSS, torch.randn(4, 3), torch.arange(4))
