"""Networks of torchvision and timm with every convolution converted: a step of training changes
weights and running statistics as it does without torchconv.

In float64, where no rounding is large enough to hide a mistake or to move a ReLU across zero.
"""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchconv

models = pytest.importorskip("torchvision.models")

# With tests/convert/test_torchvision_models.py, which has ResNet, MobileNetV2 and ConvNeXt,
# these are twelve; some have fewer blocks than those with weights.
TORCHVISION = {
    "densenet": lambda: models.DenseNet(12, (2, 2, 2, 2), 16, num_classes=10),
    "efficientnet": lambda: models.efficientnet_b0(num_classes=10),
    "googlenet": lambda: models.GoogLeNet(10, aux_logits=False, init_weights=False),
    "mnasnet": lambda: models.mnasnet0_5(num_classes=10),
    "mobilenet_v3": lambda: models.mobilenet_v3_small(num_classes=10),
    "regnet": lambda: models.regnet_y_400mf(num_classes=10),
    "resnext": lambda: models.ResNet(
        models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10, groups=32, width_per_group=4
    ),
    "shufflenet": lambda: models.shufflenet_v2_x0_5(num_classes=10),
    "squeezenet": lambda: models.squeezenet1_1(num_classes=10),
}
TIMM = ("convnext_atto", "edgenext_xx_small", "ghostnet_050", "lcnet_050", "mixnet_s", "tinynet_e")


def trained(model, images, loss_of):
    """Parameters, buffers and gradients after one step, by name."""
    torch.manual_seed(3)  # of dropout and the like
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    optimizer.zero_grad()
    loss = loss_of(model.train(), images)
    loss.backward()
    optimizer.step()
    gradients = {f"grad of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **model.state_dict(), **gradients}


def assert_trains_alike(model, images, loss_of, tolerance=1e-8):
    model = model.double()
    converted = torchconv.convert(copy.deepcopy(model))
    layers = [module for module in converted.modules() if type(module) is nn.Conv2d]
    assert len(layers) >= 15 and all(map(torchconv.is_converted, layers))
    actual, expected = (trained(each, images, loss_of) for each in (converted, model))
    assert actual.keys() == expected.keys()
    largest = max(value.abs().max() for name, value in expected.items() if "grad of" in name)
    for name, value in expected.items():
        # Some gradients are zero but for rounding: a bias before a batch normalisation.
        scale = max(float(value.abs().max()), 1e-4 * float(largest))
        torch.testing.assert_close(
            actual[name], value, rtol=0, atol=tolerance * scale, msg=lambda text, n=name: n + text
        )


def classified(model, images):
    return F.cross_entropy(model(images), torch.tensor([1, 7, 0]))


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_network_of_torchvision(name):
    images = torch.randn(3, 3, 64, 64).double()
    assert_trains_alike(TORCHVISION[name](), images, classified)


@pytest.mark.parametrize("name", TIMM)
def test_a_network_of_timm(name):
    timm = pytest.importorskip("timm")
    images = torch.randn(3, 3, 64, 64).double()
    assert_trains_alike(timm.create_model(name, num_classes=10), images, classified)


def test_mask_r_cnn_with_images_that_show_nothing():
    """Then its heads get a batch of no regions, and the convolutions in them no images."""
    detection = models.detection
    backbone = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, trainable_layers=5
    )
    model = detection.MaskRCNN(
        backbone, min_size=64, max_size=64, rpn_pre_nms_top_n_train=50, rpn_post_nms_top_n_train=20,
        box_head=detection.faster_rcnn.TwoMLPHead(256 * 7 * 7, 16),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(16, 3),
        mask_predictor=detection.mask_rcnn.MaskRCNNPredictor(256, 16, 3),
    )  # fmt: skip
    boxes = torch.tensor([[4.0, 6.0, 30.0, 40.0]]).double()
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 6:40, 4:30] = 1
    seen = dict(boxes=boxes, labels=torch.tensor([1]), masks=masks)
    nothing = dict(boxes=boxes[:0], labels=torch.zeros(0, dtype=torch.int64), masks=masks[:0])

    for targets in ([nothing, nothing], [seen, nothing]):
        assert_trains_alike(
            model,
            torch.rand(2, 3, 64, 64).double(),
            lambda model, images, targets=targets: sum(model(list(images), targets).values()),
        )
