"""Names for people: "MobileNetV2 block 7 depthwise 3x3" for the layer mobilenet_v2/b7.dw.

The identifiers of tests/networks.py stay what tests, results and options are keyed by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.cases import Conv2dCase

NETWORKS = {
    "lenet": "LeNet",
    "alexnet": "AlexNet",
    "alexnet_cifar": "AlexNet for CIFAR",
    "vgg11": "VGG-11",
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "mobilenet_v2": "MobileNetV2",
    "convnext_tiny": "ConvNeXt-T",
    "replk31": "RepLKNet-31B",
    "resnext50": "ResNeXt-50",
    "deeplab": "DeepLab",
    "filters": "Image filters",
    "efficientnet": "EfficientNet-B0",
    "efficientnet_b0": "EfficientNet-B0",
    "regnet": "RegNet",
    "regnet_y_400mf": "RegNetY-400MF",
    "densenet": "DenseNet",
    "inception": "Inception v3",
    "unet": "U-Net",
    "yolo": "YOLOv5",
    "odd": "Odd sizes",
}

# Words of an identifier that say where a layer is; the others repeat its shape, such as dw7 or s2.
PLACES = {
    r"conv(\d)": r"layer \1",
    r"layer(\d)": r"stage \1",
    "aspp": "ASPP",
    "blur": "blur",
    "down": "downsampling",
    "grow": "growth",
    "gray": "grey blur",
    "gabor": "Gabor",
    "sobel": "Sobel",
    "first|stem|head|shortcut|reduce|expand|project|patchify|classifier": r"\g<0>",
    "squeeze|excite|bottleneck|transition|up|middle|last|spectrogram": r"\g<0>",
}


def network_name(network: str) -> str:
    return NETWORKS.get(network, network)


def layer_name(case: Conv2dCase) -> str:
    """The network, the place in it and the kind of convolution."""
    network, _, rest = case.name.partition("/")
    return " ".join([network_name(network), *_place(rest), _kind(case)]) + _details(case, rest)


def _place(rest: str) -> Iterator[str]:
    block, dot, within = rest.partition(".")
    if re.fullmatch(r"\d_\d", rest):  # as VGG counts
        yield f"layer {rest.replace('_', '-')}"
    elif dot and (found := re.fullmatch(r"([sb])(\d+)", block)):
        yield f"{'stage' if found[1] == 's' else 'block'} {found[2]}"
        rest = within
    for word in re.split(r"[._]", rest):
        for pattern, text in PLACES.items():
            if found := re.fullmatch(pattern, word):
                yield found.expand(text)


def _kind(case: Conv2dCase) -> str:
    kernel = f"{case.r}x{case.s}"
    if 1 < case.groups == case.c:
        return f"depthwise {kernel}"
    return kernel if case.groups == 1 else f"{kernel} in {case.groups} groups"


def _details(case: Conv2dCase, rest: str) -> str:
    parts = []
    if case.stride != (1, 1):
        parts.append(f"stride {case.stride[0]}")
    if case.dilation != (1, 1):
        parts.append(f"dilation {case.dilation[0]}")
    if case.name.startswith(("efficientnet", "densenet", "yolo")) and case.h > 1:
        parts.append(f"image {case.h}x{case.w}")
    if case.name.startswith("odd"):
        parts.append(f"{case.c} to {case.k} channels")
    if rest.endswith("_b1"):
        parts.append("one image")
    return "".join(f", {part}" for part in parts)
