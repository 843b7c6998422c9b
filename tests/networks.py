"""Layers of real networks, for the benchmark.

`NETWORKS` is the main set, at a batch that keeps one call between some ten microseconds and some
ten milliseconds. `HELD_OUT` holds layers of other networks: no constant may be tuned on them, so
they show whether what was tuned on the first set holds elsewhere. The tag `first` marks the first
layer of a network, whose input needs no gradient in training.
"""

from __future__ import annotations

from dataclasses import replace

from tests.cases import Conv2dCase, case


def _named(network: str, *rows: Conv2dCase) -> tuple[Conv2dCase, ...]:
    return tuple(replace(row, name=f"{network}/{row.name}") for row in rows)


def _depthwise(name: str, n: int, c: int, size: int, kernel: int, **options) -> Conv2dCase:
    return case(name, n, c, size, c, kernel, groups=c, tags="depthwise", **options)


def _bottlenecks(stage: int, n: int, width: int, size: int) -> tuple[Conv2dCase, ...]:
    """The layers of one later stage of ResNet-50; its first block halves the map."""
    return (
        case(f"s{stage}.first_1x1", n, width * 2, size * 2, width, 1),
        case(f"s{stage}.first_3x3", n, width, size * 2, width, 3, 2),
        case(f"s{stage}.shortcut", n, width * 2, size * 2, width * 4, 1, 2),
        case(f"s{stage}.reduce", n, width * 4, size, width, 1),
        case(f"s{stage}.3x3", n, width, size, width, 3),
        case(f"s{stage}.expand", n, width, size, width * 4, 1),
    )


def _inverted(
    name: str, n: int, before: int, hidden: int, after: int, size: int, stride: int
) -> tuple[Conv2dCase, ...]:
    """The three layers of one inverted residual of MobileNetV2."""
    return (
        case(f"{name}.expand", n, before, size, hidden, 1),
        _depthwise(f"{name}.dw{'_s2' if stride == 2 else ''}", n, hidden, size, 3, stride=stride),
        case(f"{name}.project", n, hidden, size // stride, after, 1),
    )


NETWORKS: dict[str, tuple[Conv2dCase, ...]] = {
    "lenet": _named(
        "lenet",
        case("conv1", 64, 1, 28, 6, 5, padding=2, bias=True, tags="first"),
        case("conv2", 64, 6, 14, 16, 5, padding=0, bias=True),
        case("conv3", 64, 16, 5, 120, 5, padding=0, bias=True),
        case("conv1_b1", 1, 1, 28, 6, 5, padding=2, bias=True, tags="first"),
        case("conv2_b1", 1, 6, 14, 16, 5, padding=0, bias=True),
    ),
    "alexnet": _named(
        "alexnet",
        case("conv1", 8, 3, 224, 64, 11, 4, padding=2, bias=True, tags="first"),
        case("conv2", 8, 64, 27, 192, 5, bias=True),
        case("conv3", 8, 192, 13, 384, 3, bias=True),
        case("conv4", 8, 384, 13, 256, 3, bias=True),
        case("conv5", 8, 256, 13, 256, 3, bias=True),
    ),
    "alexnet_cifar": _named(
        "alexnet_cifar",
        case("conv1", 32, 3, 32, 64, 3, 2, bias=True, tags="first"),
        case("conv2", 32, 64, 8, 192, 3, bias=True),
        case("conv3", 32, 192, 4, 384, 3, bias=True),
        case("conv4", 32, 384, 4, 256, 3, bias=True),
        case("conv5", 32, 256, 4, 256, 3, bias=True),
    ),
    "vgg16": _named(
        "vgg16",
        case("1_1", 1, 3, 224, 64, 3, bias=True, tags="first"),
        case("1_2", 1, 64, 224, 64, 3, bias=True),
        case("2_1", 1, 64, 112, 128, 3, bias=True),
        case("2_2", 1, 128, 112, 128, 3, bias=True),
        case("3_1", 1, 128, 56, 256, 3, bias=True),
        case("3_2", 1, 256, 56, 256, 3, bias=True),
        case("4_1", 1, 256, 28, 512, 3, bias=True),
        case("4_2", 1, 512, 28, 512, 3, bias=True),
        case("5_1", 1, 512, 14, 512, 3, bias=True),
    ),
    "resnet18": _named(
        "resnet18",
        case("stem", 4, 3, 224, 64, 7, 2, tags="first"),
        case("s1.3x3", 4, 64, 56, 64, 3),
        case("s2.first_3x3", 4, 64, 56, 128, 3, 2),
        case("s2.shortcut", 4, 64, 56, 128, 1, 2),
        case("s2.3x3", 4, 128, 28, 128, 3),
        case("s3.first_3x3", 4, 128, 28, 256, 3, 2),
        case("s3.shortcut", 4, 128, 28, 256, 1, 2),
        case("s3.3x3", 4, 256, 14, 256, 3),
        case("s4.first_3x3", 4, 256, 14, 512, 3, 2),
        case("s4.shortcut", 4, 256, 14, 512, 1, 2),
        case("s4.3x3", 4, 512, 7, 512, 3),
        case("s1.3x3_b1", 1, 64, 56, 64, 3),
        case("s2.3x3_b1", 1, 128, 28, 128, 3),
        case("s3.3x3_b1", 1, 256, 14, 256, 3),
        case("s4.3x3_b1", 1, 512, 7, 512, 3),
    ),
    "resnet50": _named(
        "resnet50",
        case("s1.first_1x1", 4, 64, 56, 64, 1),
        case("s1.reduce", 4, 256, 56, 64, 1),
        case("s1.3x3", 4, 64, 56, 64, 3),
        case("s1.expand", 4, 64, 56, 256, 1),
        *_bottlenecks(2, 4, 128, 28),
        *_bottlenecks(3, 4, 256, 14),
        *_bottlenecks(4, 4, 512, 7),
    ),
    "mobilenet_v2": _named(
        "mobilenet_v2",
        case("stem", 4, 3, 224, 32, 3, 2, tags="first"),
        _depthwise("b0.dw", 4, 32, 112, 3),
        case("b0.project", 4, 32, 112, 16, 1),
        *_inverted("b1", 4, 16, 96, 24, 112, 2),
        *_inverted("b2", 4, 24, 144, 24, 56, 1),
        *_inverted("b3", 4, 24, 144, 32, 56, 2),
        *_inverted("b4", 4, 32, 192, 32, 28, 1),
        *_inverted("b6", 4, 32, 192, 64, 28, 2),
        *_inverted("b7", 4, 64, 384, 64, 14, 1),
        *_inverted("b11", 4, 96, 576, 96, 14, 1),
        *_inverted("b13", 4, 96, 576, 160, 14, 2),
        *_inverted("b14", 4, 160, 960, 160, 7, 1),
        case("head", 4, 320, 7, 1280, 1),
    ),
    "convnext_tiny": _named(
        "convnext_tiny",
        case("patchify", 4, 3, 224, 96, 4, 4, padding=0, bias=True, tags="first"),
        _depthwise("s1.dw7", 4, 96, 56, 7, bias=True),
        _depthwise("s2.dw7", 4, 192, 28, 7, bias=True),
        _depthwise("s3.dw7", 4, 384, 14, 7, bias=True),
        _depthwise("s4.dw7", 4, 768, 7, 7, bias=True),
        case("s2.down", 4, 96, 56, 192, 2, 2, padding=0, bias=True),
        case("s3.down", 4, 192, 28, 384, 2, 2, padding=0, bias=True),
        case("s4.down", 4, 384, 14, 768, 2, 2, padding=0, bias=True),
    ),
    "replk31": _named(
        "replk31",
        _depthwise("s1.dw31", 1, 128, 56, 31),
        _depthwise("s2.dw29", 1, 256, 28, 29),
        _depthwise("s3.dw27", 1, 512, 14, 27),
        _depthwise("s4.dw13", 1, 1024, 7, 13),
        _depthwise("s1.dw5", 1, 128, 56, 5),
    ),
    "resnext50": _named(
        "resnext50",
        *(case(f"s{i}.g32", 4, 128 << (i - 1), 112 >> i, 128 << (i - 1), 3, groups=32)
          for i in (1, 2, 3, 4)),
        *(case(f"s{i}.g32_s2", 4, 128 << (i - 1), 224 >> i, 128 << (i - 1), 3, 2, groups=32)
          for i in (2, 3, 4)),
    ),
    "deeplab": _named(
        "deeplab",
        case("layer4.d2", 1, 512, 33, 512, 3, dilation=2),
        case("layer4.d4", 1, 512, 33, 512, 3, dilation=4),
        case("aspp.d6", 1, 512, 33, 256, 3, dilation=6),
        case("aspp.d12", 1, 512, 33, 256, 3, dilation=12),
        case("aspp.d18", 1, 512, 33, 256, 3, dilation=18),
        case("d2_s2", 2, 64, 56, 64, 3, 2, dilation=2),
        _depthwise("dw3.d2", 2, 256, 33, 3, dilation=2),
        case("classifier", 1, 256, 33, 21, 1, bias=True),
    ),
    "filters": _named(
        "filters",
        case("sobel", 1, 1, 512, 2, 3),
        case("gray_k31", 1, 1, 256, 1, 31),
        _depthwise("blur_k23", 1, 3, 256, 23),
        _depthwise("blur_1x23", 1, 3, 256, (1, 23)),
        _depthwise("blur_23x1", 1, 3, 256, (23, 1)),
        case("gabor", 1, 1, 256, 16, 15),
    ),
}  # fmt: skip

HELD_OUT: dict[str, tuple[Conv2dCase, ...]] = {
    "efficientnet": _named(
        "efficientnet",
        _depthwise("dw5_s2", 4, 144, 56, 5, stride=2),
        _depthwise("dw5_28", 4, 240, 28, 5),
        _depthwise("dw5_14", 4, 480, 14, 5),
        _depthwise("dw3_7", 4, 1152, 7, 3),
        case("expand_40", 4, 40, 28, 240, 1),
        case("project_112", 4, 672, 14, 112, 1),
        case("squeeze", 4, 240, 1, 10, 1, bias=True),
        case("excite", 4, 10, 1, 240, 1, bias=True),
    ),
    "regnet": _named(
        "regnet",
        case("g8", 4, 120, 28, 120, 3, groups=5),
        case("g16", 4, 336, 14, 336, 3, groups=21),
        case("g24_s2", 4, 208, 28, 208, 3, 2, groups=26),
        case("1x1", 4, 208, 28, 208, 1),
    ),
    "densenet": _named(
        "densenet",
        case("grow_56", 4, 128, 56, 32, 3),
        case("grow_14", 4, 128, 14, 32, 3),
        case("bottleneck_56", 4, 224, 56, 128, 1),
        case("transition", 4, 512, 28, 256, 1),
    ),
    "inception": _named(
        "inception",
        case("stem", 2, 3, 299, 32, 3, 2, padding=0, tags="first"),
        case("stem_3x3", 2, 32, 149, 32, 3, padding=0),
        case("5x5", 2, 48, 35, 64, 5),
        case("1x7", 2, 160, 17, 160, (1, 7)),
        case("7x1", 2, 160, 17, 192, (7, 1)),
        case("1x3", 2, 384, 8, 384, (1, 3)),
        case("3x3_s2", 2, 288, 35, 384, 3, 2, padding=0),
    ),
    "unet": _named(
        "unet",
        case("first", 1, 1, 188, 64, 3, padding=0, bias=True, tags="first"),
        case("up", 1, 128, 100, 64, 3, padding=0, bias=True),
        case("middle", 1, 256, 52, 512, 3, padding=0, bias=True),
        case("last", 1, 64, 120, 2, 1, bias=True),
    ),
    "yolo": _named(
        "yolo",
        case("stem_6x6", 1, 3, 320, 16, 6, 2, padding=2, tags="first"),
        case("down_80", 1, 32, 80, 64, 3, 2),
        case("3x3_40", 1, 64, 40, 64, 3),
        case("1x1_20", 1, 256, 20, 128, 1),
        case("head_85", 1, 128, 40, 255, 1, bias=True),
    ),
    "odd": _named(
        "odd",
        case("17to23_19x45", 4, 17, (19, 45), 23, 3),
        case("50to70_4x4", 3, 50, 37, 70, 4, padding=1, bias=True),
        case("5to7_3x5", 16, 5, (25, 61), 7, (3, 5), bias=True),
        case("96to96_9x9", 1, 96, 41, 96, 9),
        case("48to48_15x3", 2, 48, 30, 48, (15, 3)),
        case("multiplier_3", 4, 32, 28, 96, 3, groups=32),
        case("spectrogram", 4, 1, (128, 431), 64, 3, bias=True, tags="first"),
    ),
}


def layers(networks: dict[str, tuple[Conv2dCase, ...]]) -> list[Conv2dCase]:
    return [row for rows in networks.values() for row in rows]
