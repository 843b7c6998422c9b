"""LeNet and AlexNet, with the convolution class as an argument.

`conv` is `torch.nn.Conv2d` or anything that takes its place, such as `torchconv.Conv2d`. A drop-in
draws the same initial weights, so under one seed both classes give the same network.
"""

from torch import Tensor, nn


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al., 1998) for 28x28 images, with ReLU and max pooling.

    The 1998 network pads its 28x28 digits to 32x32; here the first layer does that.

    >>> import torch
    >>> LeNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    image_size = 28

    def __init__(self, conv: type[nn.Conv2d] = nn.Conv2d, channels: int = 1, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            conv(channels, 6, kernel_size=5, padding=2),  # [n, 6, 28, 28]
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(6, 16, kernel_size=5),  # [n, 16, 10, 10]
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )

    def forward(self, x: Tensor) -> Tensor:  # [n, channels, 28, 28] -> [n, classes]
        return self.classifier(self.features(x))


class AlexNet(nn.Module):
    """AlexNet for 224x224 images, in the one-tower form of Krizhevsky (2014).

    >>> import torch
    >>> AlexNet(classes=5)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 5])
    """

    image_size = 224

    def __init__(self, conv: type[nn.Conv2d] = nn.Conv2d, channels: int = 3, classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(
            conv(channels, 64, kernel_size=11, stride=4, padding=2),  # [n, 64, 55, 55]
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            conv(64, 192, kernel_size=5, padding=2),  # [n, 192, 27, 27]
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            *_last_three_layers(conv),  # [n, 256, 13, 13]
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = _dense_layers(256 * 6 * 6, classes)

    def forward(self, x: Tensor) -> Tensor:  # [n, channels, 224, 224] -> [n, classes]
        return self.classifier(self.features(x))


class AlexNetCifar(nn.Module):
    """AlexNet for 32x32 images: the same five layers with small kernels and strides.

    >>> import torch
    >>> AlexNetCifar()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    image_size = 32

    def __init__(self, conv: type[nn.Conv2d] = nn.Conv2d, channels: int = 3, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            conv(channels, 64, kernel_size=3, stride=2, padding=1),  # [n, 64, 16, 16]
            nn.ReLU(),
            nn.MaxPool2d(2),
            conv(64, 192, kernel_size=3, padding=1),  # [n, 192, 8, 8]
            nn.ReLU(),
            nn.MaxPool2d(2),
            *_last_three_layers(conv),  # [n, 256, 4, 4]
            nn.MaxPool2d(2),
        )
        self.classifier = _dense_layers(256 * 2 * 2, classes)

    def forward(self, x: Tensor) -> Tensor:  # [n, channels, 32, 32] -> [n, classes]
        return self.classifier(self.features(x))


def _last_three_layers(conv: type[nn.Conv2d]) -> list[nn.Module]:
    return [
        conv(192, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        conv(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        conv(256, 256, kernel_size=3, padding=1),
        nn.ReLU(),
    ]


def _dense_layers(features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(features, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, classes),
    )


MODELS = {"lenet": LeNet, "alexnet": AlexNet, "alexnet-cifar": AlexNetCifar}


def first_filters(model: nn.Module) -> Tensor:
    """The weights of the first convolution, [k, c, r, s]."""
    return next(m.weight.detach() for m in model.modules() if isinstance(m, nn.Conv2d))
