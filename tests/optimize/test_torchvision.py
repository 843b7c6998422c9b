"""Networks of torchvision: the results stay, and everything that can be folded is."""

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near
from tests.optimize.models import image, randomised, without_packed

models = pytest.importorskip("torchvision.models")
misc = pytest.importorskip("torchvision.ops.misc")

NETWORKS = {
    "alexnet": {}, "convnext_tiny": {}, "densenet121": {}, "efficientnet_b0": {},
    "googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False},
    "mnasnet0_5": {}, "mobilenet_v2": {}, "mobilenet_v3_small": {}, "regnet_y_400mf": {},
    "resnet18": {}, "resnext50_32x4d": {}, "shufflenet_v2_x0_5": {}, "squeezenet1_0": {},
    "vgg11_bn": {},
}  # fmt: skip
# DenseNet has its norms before convolutions: a norm stays where its input is a concatenation.
NORMS_LEFT = {"densenet121": 62}
RESIDUALS = {
    "efficientnet_b0": 9, "mnasnet0_5": 10, "mobilenet_v2": 10, "mobilenet_v3_small": 6,
    "regnet_y_400mf": 16, "resnet18": 8, "resnext50_32x4d": 16,
}  # fmt: skip
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)


def count(model, *kinds):
    return sum(isinstance(module, kinds) for module in model.modules())


def assert_all_folded(optimised, name=""):
    assert count(optimised, nn.BatchNorm2d, misc.FrozenBatchNorm2d) == NORMS_LEFT.get(name, 0)
    report = torchconv.report(optimised)
    assert all("torchconv" in row.done for row in report if "Conv" in row.layer)
    assert sum("residual" in row.done for row in report) >= RESIDUALS.get(name, 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    torch.manual_seed(1)
    model = randomised(getattr(models, name)(weights=None, num_classes=10, **NETWORKS[name]))
    x = image(2, 3, 96, 96) if name == "inception_v3" else image(2, 3, 64, 64)
    optimised = torchconv.optimize(model, inplace=False)
    with torch.no_grad():
        expected = model(x)
        assert_near(optimised(x), expected, 1e-4)
    assert_all_folded(optimised, name)
    assert type(optimised) is type(model)
    rows = without_packed(optimised)
    again = torchconv.optimize(optimised, inplace=True)
    assert without_packed(again) == rows
    with torch.no_grad():
        assert_near(again(x), expected, 1e-4)


def test_mobile_net_keeps_no_activation():
    optimised = torchconv.optimize(randomised(models.mobilenet_v2(num_classes=2)))
    assert count(optimised, *ACTIVATIONS) == 0


def heads(name):
    """What a detector computes before it chooses boxes, where rounding may change the order."""
    options = {"weights": None, "weights_backbone": None}
    if name == "ssdlite320_mobilenet_v3_large":
        model = models.detection.ssdlite320_mobilenet_v3_large(**options)
    else:
        model = models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
            norm_layer=misc.FrozenBatchNorm2d, **options
        )
    return randomised(model)


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"]
)
def test_detectors(name):
    model = heads(name)
    optimised = torchconv.optimize(model)
    assert_all_folded(optimised)
    assert type(optimised) is type(model)
    x = image(1, 3, 64, 96)
    with torch.no_grad():
        features, expected = optimised.backbone(x), model.backbone(x)
        assert features.keys() == expected.keys()
        for key in expected:
            assert_near(features[key], expected[key], 1e-4)
        features, ours, theirs = list(features.values()), optimised, model
        if hasattr(model, "rpn"):
            ours, theirs = optimised.rpn.head(features), model.rpn.head(features)
            pairs = zip(sum(ours, []), sum(theirs, []), strict=True)
        else:
            ours, theirs = optimised.head(features), model.head(features)
            pairs = ((ours[key], theirs[key]) for key in theirs)
        for one, other in pairs:
            assert_near(one, other, 1e-4)
        (found,) = optimised([torch.rand(3, 64, 80)])
    assert found.keys() == {"boxes", "labels", "scores"}


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_segmentation(name):
    build = getattr(models.segmentation, name)
    model = randomised(build(weights=None, weights_backbone=None, num_classes=3))
    optimised = torchconv.optimize(model, image(1, 3, 64, 48))
    assert_all_folded(optimised)
    with torch.no_grad():
        result, expected = optimised(image(2, 3, 48, 64)), model(image(2, 3, 48, 64))
    assert result.keys() == expected.keys()
    assert_near(result["out"], expected["out"], 1e-4)


def test_dtypes():
    model = randomised(models.resnet18(num_classes=10))
    for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
        optimised = torchconv.optimize(model, image(1, 3, 64, 64), dtype=dtype)
        with torch.no_grad():
            result, expected = optimised(image(1, 3, 64, 64)), model(image(1, 3, 64, 64))
        assert result.dtype is dtype
        assert_near(result.float(), expected, tolerance)
