"""Networks of timm: norms with an activation inside, convolutions of classes of their own."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import done, image, randomised

timm = pytest.importorskip("timm")
from timm.layers import BatchNormAct2d, DropPath  # noqa: E402

# How many norms there are at first, and how many stay.
NETWORKS = {
    "mobilenetv3_small_050": (34, 0),
    "rexnet_100": (62, 0),
    "skresnet18": (36, 0),
    "tf_efficientnet_lite0": (49, 5),  # Conv2dSame pads by the size of its input
    "resnetv2_18": (17, 9),  # norms come before convolutions
}


def count(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    torch.manual_seed(1)
    model = randomised(timm.create_model(name, num_classes=10))
    optimised = torchconv.optimize(model, image(1, 3, 64, 64))
    assert (count(model), count(optimised)) == NETWORKS[name]
    with torch.no_grad():
        result, expected = optimised(image(2, 3, 64, 64)), model(image(2, 3, 64, 64))
        assert_near(result, expected, 1e-4)
        features = optimised.forward_features(image(1, 3, 64, 64))
        assert_near(features, model.forward_features(image(1, 3, 64, 64)), 1e-4)


def test_subclasses_of_the_convolution():
    model = randomised(timm.create_model("nf_resnet26", num_classes=3))
    optimised = torchconv.optimize(model, image(1, 3, 64, 64))
    (row,) = (row for row in torchconv.report(optimised) if row.name == "stem.conv")
    assert row.layer.startswith("ScaledStdConv2d(") and row.done == ("torchconv",)


@pytest.mark.parametrize(
    ("activation", "fused", "left"),
    [
        (nn.SiLU, ["BatchNorm", "silu"], nn.Identity),
        (nn.Mish, ["BatchNorm"], nn.Mish),
        (None, ["BatchNorm"], nn.Identity),
    ],
)
@pytest.mark.parametrize("residual", [False, True])
def test_norms_with_an_activation_inside(activation, fused, left, residual):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            options = {"apply_act": False} if activation is None else {"act_layer": activation}
            self.norm = BatchNormAct2d(3, **options)
            self.drop = DropPath(0.5)

        def forward(self, x):
            y = self.drop(self.norm(self.conv(x)))
            return y + x if residual else y

    model = randomised(Network())
    optimised = torchconv.optimize(model, image())
    added = ["residual"] if residual and activation is None else []
    assert done(optimised) == {"conv": fused + added}
    assert type(optimised.norm) is left
    with torch.no_grad():
        assert_near(optimised(image()), model(image()), 1e-5)
