"""The operators that make and run programs: layers that are computed in one call."""

from __future__ import annotations

import random
from typing import cast

import pytest
import torch
import torch.nn.functional as F

import torchconv
from benchmarks.machine import isa_levels
from tests.compare import FLOATS, same_bits
from tests.reference import threads
from torchconv import functional
from torchconv._activations.function import Activation
from torchconv._activations.names import NAMES

ops = torch.ops.torchconv
LAST = torch.channels_last
dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=str)


class Program:
    """One that is made step by step, and ends with the test."""

    def __init__(self, *examples: torch.Tensor, channels_last: bool = True) -> None:
        self.handle = ops._program_new()
        self.inputs = [ops._program_input(self.handle, x, channels_last) for x in examples]

    def conv2d(self, value, layer, example, residual=-1, packed=None) -> int:
        """``example`` has the size and the layout of the value."""
        geometry = functional.resolve(
            example, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation,
            layer.groups,
        )  # fmt: skip
        return ops._program_conv2d(
            self.handle, value, residual, layer.weight, layer.bias, packed, geometry,
            NAMES.index(layer.activation or "none"), layer.slope,
        )  # fmt: skip

    def mean(self, value) -> int:
        return ops._program_mean(self.handle, value)

    def multiply(self, value, factor) -> int:
        return ops._program_multiply(self.handle, value, factor)

    def finish(self, *outputs: int) -> int:
        return ops._program_finish(self.handle, outputs)

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        return ops._program_run(self.handle, inputs)

    def __del__(self) -> None:
        ops._program_drop(self.handle)


def layer(
    c, k, kernel=1, activation: Activation | None = "relu", **options
) -> torchconv.ConvActivation2d:
    made = torchconv.ConvActivation2d(
        c, k, kernel, padding=kernel // 2, activation=activation, **options
    )
    return made.requires_grad_(False).to(memory_format=LAST)


def images(*size, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(size, dtype=torch.float64).to(dtype).to(memory_format=LAST)


def product_of(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    program = Program(x, factor)
    program.finish(program.multiply(*program.inputs))
    return program(x, factor)[0]


@dtypes
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("size", [(2, 5, 7, 3), (1, 40, 70, 33), (3, 16, 1, 1), (2, 1, 9, 9)])
def test_the_mean_of_channels_has_pytorchs_bits(size, channels_last, dtype):
    torch.manual_seed(1)
    x = images(*size, dtype=dtype) + 1
    x = x if channels_last else x.contiguous()
    program = Program(x, channels_last=channels_last)
    program.finish(program.mean(program.inputs[0]))
    assert same_bits(program(x)[0], x.mean((2, 3), keepdim=True))
    assert same_bits(program(x)[0], F.adaptive_avg_pool2d(x, 1))


@dtypes
@pytest.mark.parametrize("size", [(2, 5, 7, 3), (1, 40, 6, 6), (3, 16, 1, 1)])
def test_the_product_of_channels_has_pytorchs_bits(size, dtype):
    torch.manual_seed(3)
    x, factor = images(*size, dtype=dtype), images(*size[:2], 1, 1, dtype=dtype)
    assert same_bits(product_of(x, factor), x * factor)
    factor[0, 0], x[0, 1, 0, 0] = torch.nan, torch.inf
    assert same_bits(product_of(x, factor), x * factor, any_nan=True)


@dtypes
def test_same_bits_on_every_level_and_number_of_threads(dtype):
    torch.manual_seed(4)
    x, factor = images(3, 37, 60, 41, dtype=dtype), images(3, 37, 1, 1, dtype=dtype)
    product = product_of(x, factor)
    for level in isa_levels():
        for count in (1, 2, 3):
            ops._force_isa(level)
            try:
                with threads(count):
                    assert same_bits(product_of(x, factor), product)
            finally:
                ops._force_isa("")
    assert same_bits(product_of(x[1:2], factor[1:2]), product[1:2])


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_compute_what_their_layers_do(seed):
    """Values that are needed late, and several outputs, while memory is used again."""
    chance = random.Random(seed)
    torch.manual_seed(seed)
    n, c = chance.choice((1, 3)), chance.choice((5, 16, 24))
    x = images(n, c, 11, 9)
    program = Program(x)
    values, expected = list(program.inputs), [x]
    for _ in range(12):
        at = chance.randrange(len(values))
        kind = chance.choice(("conv", "residual", "depthwise", "gate"))
        if kind == "gate":
            gate = layer(c, c, activation="sigmoid")
            mean = program.mean(values[at])
            scale = program.conv2d(mean, gate, images(n, c, 1, 1))
            values.append(program.multiply(values[at], scale))
            expected.append(expected[at] * gate(expected[at].mean((2, 3), keepdim=True)))
            continue
        other = chance.randrange(len(values)) if kind == "residual" else -1
        groups = c if kind == "depthwise" else 1
        activation: Activation | None = chance.choice(("relu6", "silu", None))
        one = layer(c, c, 3, activation, groups=groups)
        values.append(program.conv2d(values[at], one, x, -1 if other < 0 else values[other]))
        expected.append(one(expected[at], expected[other] if other >= 0 else None))
    wanted = sorted(chance.sample(range(1, len(values)), 3) + [len(values) - 1])
    wanted = sorted(set(wanted))
    size = program.finish(*(values[i] for i in wanted))
    assert size < 12 * expected[0].numel() * 4
    for _ in range(2):
        for found, i in zip(program(x), wanted, strict=True):
            assert same_bits(found, expected[i])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "c, k, size, kernel, dilation",
    [(16, 64, 14, 1, 1), (300, 37, 9, 1, 1), (64, 64, 15, 3, 1), (24, 100, 7, 5, 1),
     (64, 68, 15, 3, 2)],
    ids=["whole vectors", "many channels", "winograd", "5x5", "winograd dilated"],
)  # fmt: skip
def test_results_take_the_place_of_a_residual_that_nobody_needs_any_more(
    c, k, size, kernel, dilation, dtype
):
    torch.manual_seed(2)
    first, second = layer(c, k, 1, None), layer(k, c, 1, "relu")
    last = layer(c, k, kernel, "silu")
    last.dilation, last.padding = (dilation,) * 2, (dilation * (kernel // 2),) * 2
    for each in (first, second, last):
        each.to(dtype)
    x = images(3, c, size, size, dtype=dtype)
    for level in isa_levels():
        ops._force_isa(level)
        try:
            program = Program(x)
            residual = program.conv2d(program.inputs[0], first, x)
            inside = program.conv2d(residual, second, images(3, k, size, size, dtype=dtype))
            sums = program.conv2d(inside, last, x, residual)
            end = program.conv2d(sums, second, images(3, k, size, size, dtype=dtype))
            kept = program.finish(end)
            wide = first(x)
            assert same_bits(program(x)[0], second(last(second(wide), wide)))
        finally:
            ops._force_isa("")
    values = [3 * size * size * channels * x.element_size() for channels in (k, c, k)]
    if dtype is torch.bfloat16:  # sums are rounded where they are added to the residual
        assert kept >= sum(values)
    else:
        assert kept < sum(values[:2]) + 128


def test_linear_layers_make_matrices_of_matrices():
    torch.manual_seed(3)
    x, weights = torch.randn(5, 20), (torch.randn(30, 20), torch.randn(7, 30))
    geometry = (1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
    program = Program(x)
    value = program.inputs[0]
    for weight in weights:
        value = ops._program_conv2d(
            program.handle, value, -1, weight, None, None, geometry, 0, 0.0
        )  # fmt: skip
    program.finish(value)
    for given in (x, x.t().contiguous().t()):
        (found,) = program(given)
        torch.testing.assert_close(found, x @ weights[0].t() @ weights[1].t(), rtol=1e-4, atol=1e-4)
    image = torch.randn(5, 20, 1, 1)
    with pytest.raises(RuntimeError, match="must have size"):
        program(image)
    for given, weight, padding in (
        (images(5, 20, 2, 2), weights[0], 0),
        (image, weights[0], 1),
        (image, weights[0][0], 0),
        (image, weights[0][..., None], 0),
        (torch.randn(5, 20, 1), weights[0], 0),
    ):
        with pytest.raises(RuntimeError):
            other = Program(given)
            ops._program_conv2d(
                other.handle, other.inputs[0], -1, weight, None, None,
                (1, 1, *[padding] * 4, 1, 1, 1, 1), 0, 0.0,
            )  # fmt: skip


def test_inputs_of_another_layout_are_converted():
    one, x = layer(4, 8, 3), images(2, 4, 6, 6)
    program = Program(x)
    program.finish(program.conv2d(program.inputs[0], one, x))
    found = program(x.contiguous())[0]
    assert same_bits(found, one(x)) and found.is_contiguous(memory_format=LAST)
    strided = images(2, 4, 6, 12)[..., ::2]
    assert same_bits(program(strided)[0], one(strided.contiguous(memory_format=LAST)))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("size", [(14, 14), (9, 11), (40, 28)], ids=str)
def test_threads_share_an_image_whose_residual_is_replaced(size, count):
    """With weights that are packed before, so that each thread has all channels of its pixels."""
    torch.manual_seed(5)
    first, second = layer(24, 64, 1, None), layer(64, 40, 1, "relu")
    last = layer(40, 64, 1, "relu6")
    x = images(1, 24, *size)

    def packed(one: torchconv.ConvActivation2d, example: torch.Tensor) -> torch.Tensor:
        geometry = functional.resolve(example, one.weight, one.bias, (1, 1), (0, 0), (1, 1), 1)
        return ops._pack_weights(one.weight, example.shape, geometry)

    with threads(count):
        program = Program(x)
        value = program.conv2d(program.inputs[0], first, x, packed=packed(first, x))
        wide, narrow = images(1, 64, *size), images(1, 40, *size)
        inside = program.conv2d(value, second, wide, packed=packed(second, wide))
        sums = program.conv2d(inside, last, narrow, value, packed=packed(last, narrow))
        kept = program.finish(program.conv2d(sums, second, wide, packed=packed(second, wide)))
        found = program(x)[0]
    assert kept < 4 * (64 + 40 + 8) * size[0] * size[1]
    residual = first(x)
    assert same_bits(found, second(last(second(residual), residual)))


def test_packed_weights_are_used():
    """A program reads what was packed, not the weight: here that of another one."""
    one, other = layer(64, 64, bias=False), layer(64, 64, bias=False)
    x = images(1, 64, 20, 20)
    geometry = functional.resolve(x, one.weight, one.bias, 1, 0, 1, 1)
    packed = ops._pack_weights(other.weight, x.shape, geometry)
    assert packed.numel() > 0
    program = Program(x)
    program.finish(program.conv2d(program.inputs[0], one, x, packed=packed))
    assert same_bits(program(x)[0], other(x))


def test_a_program_does_not_run_where_something_has_changed():
    one, x = layer(4, 8, 3), images(1, 4, 6, 6)
    program = Program(x)
    program.finish(program.conv2d(program.inputs[0], one, x))
    with threads(torch.get_num_threads() + 1):
        assert program(x) == []
    ops._force_isa("portable")
    try:
        assert program(x) == []
    finally:
        ops._force_isa("")
    ops._force_algorithm("reference")
    try:
        assert program(x) == []
    finally:
        ops._force_algorithm("")
    assert len(program(x)) == 1
    cast(torch.Tensor, one.bias).data = torch.zeros(3)
    assert program(x) == []


def test_what_is_refused():
    one, x = layer(4, 8, 3), images(1, 4, 6, 6)
    program = Program(x)
    (value,) = program.inputs
    wide = images(1, 8, 6, 6)
    for call in (
        lambda: program.conv2d(value, layer(8, 8), wide),  # channels
        lambda: program.conv2d(7, one, x),  # no such value
        lambda: program.conv2d(value, one, x, residual=value),  # 4 channels to 8
        lambda: program.conv2d(value, one.double(), x.double()),
        lambda: program.conv2d(value, layer(4, 4).to(memory_format=torch.contiguous_format),
                               x.contiguous()),  # another layout
        lambda: program.multiply(value, value),
        lambda: program.finish(value),  # an input
        lambda: ops._program_input(program.handle, images(1, 4, 6, 6).double(), True),
        lambda: ops._program_input(program.handle, x[:0], True),
        lambda: program(x),  # not finished
        lambda: ops._program_run(-1, [x]),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            call()
    program.finish(program.conv2d(value, layer(4, 8), x))
    for inputs in ([], [x, x], [x[..., 1:]], [x.double()], [x[0]]):
        with pytest.raises(RuntimeError, match=r"inputs|input 0|one dtype"):
            program(*inputs)
    with pytest.raises(RuntimeError, match="finished"):
        program.mean(value)


def test_programs_are_counted_and_dropped():
    before = ops._program_count()
    program = Program(images(1, 4, 6, 6))
    assert ops._program_count() == before + 1
    ops._program_drop(program.handle)
    ops._program_drop(program.handle)
    assert ops._program_count() == before
