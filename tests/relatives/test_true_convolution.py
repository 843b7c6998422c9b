"""true_convolution is what scipy and the definition say."""

import pytest
import scipy.signal
import torch

import torchconv
from tests.compare import FLOATS, assert_near

MODES = ("full", "same", "valid")
SIZES = [((5, 6), (3, 3)), ((6, 5), (2, 4)), ((4, 4), (1, 3)), ((7, 3), (4, 1)), ((3, 3), (3, 3))]
each_mode = pytest.mark.parametrize("mode", MODES)


@each_mode
@pytest.mark.parametrize(("size", "kernel_size"), SIZES, ids=str)
def test_matrices_as_scipy(size, kernel_size, mode):
    image, kernel = torch.randn(size).double(), torch.randn(kernel_size).double()
    expected = scipy.signal.convolve2d(image.numpy(), kernel.numpy(), mode)
    assert_near(torchconv.true_convolution(image, kernel, mode), torch.from_numpy(expected))


@pytest.mark.parametrize("mode", ["full", "same"])
def test_a_kernel_larger_than_the_image(mode):
    image, kernel = torch.randn(3, 2).double(), torch.randn(5, 6).double()
    expected = scipy.signal.convolve2d(image.numpy(), kernel.numpy(), mode)
    assert_near(torchconv.true_convolution(image, kernel, mode), torch.from_numpy(expected))


def test_full_is_commutative_and_associative():
    a, b, c = (torch.randn(size).double() for size in ((5, 4), (2, 3), (3, 3)))
    convolve = torchconv.true_convolution
    assert_near(convolve(a, b), convolve(b, a))
    assert_near(convolve(convolve(a, b), c), convolve(a, convolve(b, c)))
    one = torch.ones(1, 1).double()
    assert torch.equal(convolve(a, one), a)
    whole = torch.randint(-9, 9, (5, 4)), torch.randint(-9, 9, (3, 2))
    assert torch.equal(convolve(*whole), convolve(*whole[::-1]))


@each_mode
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_kernels_of_images_and_of_channels(mode, dtype):
    images = torch.randn(2, 3, 4, 6, 5).to(dtype)
    shared, each = torch.randn(3, 2).to(dtype), torch.randn(4, 3, 2).to(dtype)
    for kernel in (shared, each):
        found = torchconv.true_convolution(images, kernel, mode)
        assert found.dtype is dtype and found.shape[:3] == (2, 3, 4)
        for n, m, c in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
            one = kernel if kernel is shared else kernel[c]
            expected = scipy.signal.convolve2d(
                images[n, m, c].double().numpy(), one.double().numpy(), mode
            )
            assert_near(found[n, m, c], torch.from_numpy(expected).to(dtype))
    assert torchconv.true_convolution(images[:0], each, mode).shape[:3] == (0, 3, 4)


@each_mode
def test_derivatives_of_two_orders(mode):
    image = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    for size in ((2, 3), (2, 2, 3)):
        kernel = torch.randn(size, dtype=torch.float64, requires_grad=True)

        def function(image, kernel):
            return torchconv.true_convolution(image, kernel, mode)

        assert torch.autograd.gradcheck(function, (image, kernel), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(function, (image, kernel))


IMAGE, KERNEL = torch.ones(2, 5, 5), torch.ones(3, 3)


@pytest.mark.parametrize(
    ("change", "kind", "texts"),
    [
        (dict(mode="circular"), ValueError, ("mode", "'circular'", "'full'")),
        (dict(mode=None), ValueError, ("mode", "None")),
        (dict(input=torch.ones(5)), ValueError, ("[5]", "[3, 3]")),
        (dict(kernel=torch.ones(3)), ValueError, ("[2, 5, 5]", "[3]")),
        (dict(kernel=torch.ones(1, 1, 3, 3)), ValueError, ("[1, 1, 3, 3]",)),
        (dict(kernel=torch.ones(3, 3, 3)), ValueError, ("channel", "[2, 5, 5]", "[3, 3, 3]")),
        (dict(kernel=torch.ones(0, 3)), ValueError, ("1 x 1", "[0, 3]")),
        (dict(input=torch.ones(5, 0)), ValueError, ("1 x 1", "[5, 0]")),
        (dict(kernel=torch.ones(6, 3), mode="valid"), ValueError, ("'valid'", "[6, 3]")),
        (dict(input=[[1.0]]), TypeError, ("input", "list")),
        (dict(kernel=1.0), TypeError, ("kernel", "float")),
        (dict(kernel=KERNEL.double()), RuntimeError, ("float32", "float64")),
    ],
    ids=str,
)
def test_refused(change, kind, texts):
    with pytest.raises(kind) as caught:
        torchconv.true_convolution(**{"input": IMAGE, "kernel": KERNEL, **change})
    assert all(text in str(caught.value) for text in texts), str(caught.value)
