"""The worked numbers of introductory texts on convolution, each computed by torchconv."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchconv
from torchconv import conv2d


def plane(values) -> torch.Tensor:
    """A matrix as a batch of one image with one channel; also a kernel with one filter."""
    return torch.as_tensor(values, dtype=torch.float32)[None, None]


def true_convolution(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """S(i, j) = sum I(m, n) K(i - m, j - n), everywhere it is not zero: the kernel is flipped."""
    padding = (kernel.shape[-2] - 1, kernel.shape[-1] - 1)
    return conv2d(image, kernel.flip(-1, -2), padding=padding)


def correlate_1d(signal, pattern, padding: int) -> torch.Tensor:
    """One dimension is a picture one pixel high."""
    return conv2d(plane([signal]), plane([pattern]), padding=(0, padding))[0, 0, 0]


@pytest.mark.parametrize(
    "size, kernel, padding, stride, dilation, expected",
    [
        (32, 5, 0, 1, 1, 28),  # N - F + 1
        (6, 3, 0, 1, 1, 4),
        (6, 3, 1, 1, 1, 6),  # the padding that keeps the size
        (6, 3, 0, 1, 2, 2),  # 3x3 spread out to 5x5
        (7, 3, 0, 2, 1, 3),
        (6, 3, 0, 2, 1, 2),  # floor: the last column is dropped
        (28, 5, 2, 1, 1, 28),
        (224, 11, 2, 4, 1, 55),
        (224, 7, 3, 2, 1, 112),
        (10, 3, 2, 3, 2, 4),
    ],
)
def test_output_size(size, kernel, padding, stride, dilation, expected):
    """floor((H + 2 p - d (k - 1) - 1) / s) + 1, told and observed, on both axes."""
    assert expected == (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    output = conv2d(
        torch.zeros(2, 3, size, size + stride),
        torch.zeros(4, 3, kernel, kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    assert output.shape == (2, 4, expected, expected + 1)
    told = torchconv.conv2d_output_size(
        (size, size + stride), kernel, stride=stride, padding=padding, dilation=dilation
    )
    assert tuple(told) == (expected, expected + 1)


def test_too_small_an_image_is_an_error():
    with pytest.raises((ValueError, RuntimeError)):
        torchconv.conv2d_output_size((4, 4), 5)
    with pytest.raises(RuntimeError):
        conv2d(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 5, 5))


def test_mean_of_a_counting_image():
    """6x6 of 0 .. 35 under a 3x3 mean: 4x4, first value 7, one more per column, six per row."""
    output = conv2d(plane(torch.arange(36.0).reshape(6, 6)), plane(torch.full((3, 3), 1 / 9)))
    expected = 7 + torch.arange(4.0) + 6 * torch.arange(4.0)[:, None]
    assert output.shape == (1, 1, 4, 4)
    torch.testing.assert_close(output[0, 0], expected)


def test_stride_two_of_the_counting_image():
    image, mean = plane(torch.arange(36.0).reshape(6, 6)), plane(torch.full((3, 3), 1 / 9))
    output = conv2d(image, mean, stride=2)
    torch.testing.assert_close(output[0, 0], torch.tensor([[7.0, 9.0], [19.0, 21.0]]))


def test_padding_one_keeps_the_size():
    image, mean = plane(torch.arange(36.0).reshape(6, 6)), plane(torch.full((3, 3), 1 / 9))
    output = conv2d(image, mean, padding=1)
    assert output.shape == image.shape
    torch.testing.assert_close(output[0, 0, 0, 0], torch.tensor((0 + 1 + 6 + 7) / 9))
    torch.testing.assert_close(output[:, :, 1:-1, 1:-1], conv2d(image, mean))


def test_dilated_kernel_is_the_spread_out_kernel():
    """A 3x3 kernel with dilation 2 is a 5x5 kernel with gaps."""
    kernel = torch.arange(1.0, 10.0).reshape(3, 3)
    spread = torch.zeros(5, 5)
    spread[::2, ::2] = kernel
    assert spread[0].tolist() == [1, 0, 2, 0, 3]
    image = torch.randn(2, 1, 9, 11)
    torch.testing.assert_close(
        conv2d(image, plane(kernel), dilation=2), conv2d(image, plane(spread))
    )
    counting = plane(torch.arange(36.0).reshape(6, 6))
    mean = conv2d(counting, plane(torch.full((3, 3), 1 / 9)), dilation=2)
    torch.testing.assert_close(mean[0, 0], torch.tensor([[14.0, 15.0], [20.0, 21.0]]))


HALF_BRIGHT = torch.tensor([10.0, 10, 10, 0, 0, 0]).expand(6, 6)
VERTICAL = torch.tensor([[1.0, 0, -1]]).expand(3, 3)


def test_vertical_edge():
    """Half bright, half dark: columns 0, 30, 30, 0; the other way round -30."""
    edge = conv2d(plane(HALF_BRIGHT), plane(VERTICAL))[0, 0]
    assert edge.tolist() == [[0, 30, 30, 0]] * 4
    reversed_edge = conv2d(plane(HALF_BRIGHT.flip(1)), plane(VERTICAL))[0, 0]
    assert reversed_edge.tolist() == [[0, -30, -30, 0]] * 4
    assert torch.equal(reversed_edge.abs(), edge)


def test_horizontal_edges_of_a_chequered_image():
    """Bright and dark quarters: 30 and -30 along the edge, 10 and -10 where both sides meet."""
    bright, dark = torch.full((3, 3), 10.0), torch.zeros(3, 3)
    image = torch.cat((torch.cat((bright, dark), 1), torch.cat((dark, bright), 1)))
    edge = conv2d(plane(image), plane(VERTICAL.T))[0, 0]
    row = [30, 10, -10, -30]
    assert edge.tolist() == [[0] * 4, row, row, [0] * 4]


@pytest.mark.parametrize(
    "kernel, value",
    [([[1, 0, -1], [2, 0, -2], [1, 0, -1]], 40), ([[3, 0, -3], [10, 0, -10], [3, 0, -3]], 160)],
    ids=["sobel", "scharr"],
)
def test_sobel_and_scharr(kernel, value):
    edge = conv2d(plane(HALF_BRIGHT), plane(kernel))[0, 0]
    assert edge.tolist() == [[0, value, value, 0]] * 4


SIGNAL, PATTERN = [0, 0, 0, 1, 2, 3, 2, 1, 0, 0], [1, 2, 3, 2, 1]
CORRELATION = [0, 0, 0, 1, 4, 10, 16, 19, 16, 10, 4, 1, 0, 0]


def test_autocorrelation():
    """A signal and a pattern it contains: the maximum marks where they match."""
    full = correlate_1d(SIGNAL, PATTERN, padding=4)
    assert full.tolist() == CORRELATION
    assert full.argmax().item() == 7
    same = correlate_1d(SIGNAL, PATTERN, padding=2)
    assert same.tolist() == CORRELATION[2:-2]
    assert same.argmax().item() == SIGNAL.index(3)
    # The pattern is symmetric, so flipping it changes nothing: convolution is correlation here.
    assert true_convolution(plane([SIGNAL]), plane([PATTERN]))[0, 0, 0].tolist() == CORRELATION


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers())
def test_true_convolution_commutes(h, w, r, s, seed):
    """I * K = K * I; cross-correlation, which does not flip, does not commute."""
    generator = torch.Generator().manual_seed(seed % 2**32)
    image = torch.randn(1, 1, h, w, generator=generator, dtype=torch.float64)
    kernel = torch.randn(1, 1, r, s, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(true_convolution(image, kernel), true_convolution(kernel, image))


def test_cross_correlation_does_not_commute():
    image, kernel = plane([[1.0, 2.0, 3.0]]), plane([[0.0, 1.0]])
    forwards = conv2d(image, kernel, padding=(0, 1))[0, 0]
    backwards = conv2d(kernel, image, padding=(0, 2))[0, 0]
    assert forwards.tolist() == [[1, 2, 3, 0]]
    assert backwards.tolist() == [[0, 3, 2, 1]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 7), st.booleans(), st.integers(0, 2**31))
def test_translation(down, right, depthwise, seed):
    """Moving the image moves the map, bit for bit."""
    generator = torch.Generator().manual_seed(seed)
    channels, groups = 4, 4 if depthwise else 1
    image = torch.zeros(1, channels, 24, 26)
    image[:, :, 4:14, 4:14] = torch.randn(channels, 10, 10, generator=generator)
    kernel = torch.randn(channels, channels // groups, 3, 5, generator=generator)
    moved = image.roll((down, right), dims=(2, 3))
    expected = conv2d(image, kernel, padding=(1, 2), groups=groups).roll((down, right), (2, 3))
    assert torch.equal(conv2d(moved, kernel, padding=(1, 2), groups=groups), expected)


def test_stride_only_moves_with_its_own_step():
    """With stride 2 a map follows the image in steps of two pixels."""
    image, kernel = torch.zeros(1, 1, 20, 20), torch.randn(1, 1, 3, 3)
    image[:, :, 5:12, 5:12] = torch.randn(7, 7)
    whole = conv2d(image, kernel, stride=2)
    moved = conv2d(image.roll(2, dims=3), kernel, stride=2)
    assert torch.equal(moved, whole.roll(1, dims=3))


@pytest.mark.parametrize(
    "channels, filters, kernel, bias, expected",
    [
        (3, 6, 5, True, 456),  # (5 * 5 * 3 + 1) * 6
        (1, 6, 5, True, 156),
        (6, 16, 5, True, 2416),
        (3, 64, 3, True, 1792),
        (3, 64, 7, False, 9408),
    ],
)
def test_parameter_count(channels, filters, kernel, bias, expected):
    """k * k * C * F + F, whatever the size of the image."""
    layer = torchconv.Conv2d(channels, filters, kernel, bias=bias)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected
    assert layer.bias is None or layer.bias.shape == (filters,)


def test_channels_last_batch_of_photographs():
    """64 filters of 3x3 with 'same' on (12, 224, 224, 3) give (12, 224, 224, 64), in place."""
    photographs = torch.randn(12, 224, 224, 3, dtype=torch.bfloat16)
    layer = torchconv.Conv2d(3, 64, 3, padding="same", dtype=torch.bfloat16)
    with torch.inference_mode():
        output = layer(photographs.permute(0, 3, 1, 2))
    assert output.shape == (12, 64, 224, 224)
    assert output.permute(0, 2, 3, 1).shape == (12, 224, 224, 64)
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_feature_map_by_hand():
    """Each value is the sum of the products of one window, over all channels, plus the bias."""
    image, kernel = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    bias = torch.tensor([1.0, 2.0, 3.0])
    output = conv2d(image, kernel, bias)
    for k in range(3):
        for p in range(3):
            for q in range(3):
                window = image[0, :, p : p + 3, q : q + 3]
                by_hand = (window * kernel[k]).sum() + bias[k]
                torch.testing.assert_close(output[0, k, p, q], by_hand, rtol=1e-5, atol=1e-5)
