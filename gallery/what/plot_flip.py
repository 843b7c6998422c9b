r"""
To flip or not to flip
======================

In mathematics a convolution turns the kernel around before it slides:

.. math:: S(i, j) = \sum_m \sum_n I(m, n) \, K(i - m, j - n)

Neural networks leave that out. What they call a convolution is the *cross-correlation*:

.. math:: S(i, j) = \sum_m \sum_n I(i + m, j + n) \, K(m, n)

Where the kernel is learned it makes no difference: the network learns it turned around.
"""

import matplotlib.pyplot as plt
import torch

import torchconv
from gallery.drawing import draw_matrix

# %%
# ``torchconv.conv2d``, as everything in PyTorch, does not flip. The true convolution is the same
# with a flipped kernel. With a padding of ``k - 1`` it is *full*: every position counts at which
# image and kernel touch.


def correlate(image, kernel):
    padding = [size - 1 for size in kernel.shape]
    return torchconv.conv2d(image[None, None], kernel[None, None], padding=padding)[0, 0]


def convolve(image, kernel):
    return correlate(image, kernel.flip(0, 1))


image = torch.arange(1.0, 10.0).reshape(3, 3)
kernel = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
print("without the flip:\n", correlate(image, kernel))
print("with the flip:\n", convolve(image, kernel))

assert not torch.equal(correlate(image, kernel), convolve(image, kernel))

# %%
# A single one in an image of zeros shows what happens: the convolution puts the kernel there, the
# cross-correlation the kernel turned around.

one = torch.zeros(3, 3)
one[1, 1] = 1

assert torch.equal(convolve(one, kernel)[1:3, 1:3], kernel)
assert torch.equal(correlate(one, kernel)[1:3, 1:3], kernel.flip(0, 1))

figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), layout="constrained", width_ratios=[3, 2, 4, 4])
pictures = {
    "image": one,
    "kernel": kernel,
    "convolution": convolve(one, kernel),
    "cross-correlation": correlate(one, kernel),
}
for axis, (name, values) in zip(axes, pictures.items(), strict=True):
    draw_matrix(axis, values, name, limits=(-3, 3))

# %%
# Why mathematicians flip: their convolution commutes. Image and kernel may change places, :math:`I
# * K = K * I`. That is how a product behaves, and indeed, these are the coefficients of the product
# of two polynomials: (1 + 2x)(3 + x) = 3 + 7x + 2x².

assert torch.equal(convolve(image, kernel), convolve(kernel, image))
assert not torch.equal(correlate(image, kernel), correlate(kernel, image))

product = convolve(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0]]))
print("(1 + 2x)(3 + x) has the coefficients", product.flatten().tolist())

assert product.flatten().tolist() == [3, 7, 2]

# %%
# The definition, written as it stands, for comparison:


def by_definition(image, kernel):
    height, width = (a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True))
    result = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            for m in range(image.shape[0]):
                for n in range(image.shape[1]):
                    if 0 <= i - m < kernel.shape[0] and 0 <= j - n < kernel.shape[1]:
                        result[i, j] += image[m, n] * kernel[i - m, j - n]
    return result


assert torch.equal(by_definition(image, kernel), convolve(image, kernel))
