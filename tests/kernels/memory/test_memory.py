"""What the kernels read and write: arbitrary strides, nothing outside of the operands, nothing
uninitialised, Inf and NaN as F.conv2d has them, no storage that is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import torchconv  # noqa: F401  (registers the operators)
from benchmarks.machine import ISA_LEVELS
from tests.awkward import AWKWARD
from tests.cases import case, grouped, ids
from tests.compare import same_bits
from tests.reference import OPS, Operands, assert_accurate, random_operands, run

LAYOUTS = pytest.mark.parametrize(
    "channels_last", [False, True], ids=["contiguous", "channels_last"]
)
FORMATS = {False: torch.contiguous_format, True: torch.channels_last}


def surrounded(tensor: torch.Tensor, offset: int = 3, value: float = torch.nan) -> torch.Tensor:
    """The same values, sizes and strides, as a view at an odd offset of a buffer full of NaN."""
    buffer = torch.full((tensor.numel() + offset + 77,), value, dtype=tensor.dtype)
    view = buffer.as_strided(tensor.shape, tensor.stride(), offset)
    return view.copy_(tensor)


def in_layout(channels_last: bool):
    def convert(tensor):
        if tensor.dim() != 4:
            return tensor
        return tensor.contiguous(memory_format=FORMATS[channels_last])

    return convert


@LAYOUTS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_nothing_around_the_operands_is_used(dtype, channels_last):
    for shape in AWKWARD:
        t = random_operands(shape, dtype).map(in_layout(channels_last))
        for op in OPS:
            expected = run(op, shape, t, channels_last)
            found = run(op, shape, t.map(surrounded), channels_last)
            assert same_bits(found, expected), (op, shape)


SHAPES = (
    case("dense", 3, 6, (9, 14), 10, 3, bias=True),
    case("strided", 2, 5, (11, 20), 7, (3, 5), 2, bias=True),
    case("1x1", 3, 8, (6, 7), 12, 1),
    case("groups", 2, 12, (8, 9), 8, 3, groups=4),
    grouped("depthwise", 2, 9, (10, 17), 1, 3),
)


COVERED = (case("full_image", 3, 6, (5, 7), 10, (5, 7), padding=0, bias=True),
           case("full_image_groups", 3, 8, (3, 4), 12, (3, 4), padding=0, groups=4))  # fmt: skip


@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES + COVERED, ids=ids(SHAPES + COVERED))
def test_any_strides(shape, channels_last):
    """Transposed, sliced, stepped, expanded and channels-last operands give the same bits."""

    def transposed(x):
        return x.transpose(0, -1).contiguous().transpose(0, -1)

    def sliced(x):
        wide = torch.full((*x.shape[:-1], x.shape[-1] + 5), torch.nan, dtype=x.dtype)
        wide[..., 2:-3] = x
        return wide[..., 2:-3]

    def stepped(x):
        wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]

    def every_other_row(axis):
        def view(x):
            axis_of_x = axis if x.dim() == 4 else 0
            steps = (slice(None),) * axis_of_x + (slice(None, None, 2),)
            wide = x.repeat_interleave(2, axis_of_x)
            wide[(slice(None),) * axis_of_x + (slice(1, None, 2),)] = torch.nan
            return wide[steps]

        return view

    def channels_last_or_not(x):
        return in_layout(not channels_last)(x)

    t = random_operands(shape, torch.float32)
    views = [transposed, sliced, stepped, channels_last_or_not]
    for op in OPS:
        expected = run(op, shape, t, channels_last)
        for view in views + [every_other_row(axis) for axis in range(3)]:
            assert same_bits(run(op, shape, t.map(view), channels_last), expected), view.__name__


@LAYOUTS
def test_expanded_operands(channels_last):
    """A stride of zero, as the gradient of a sum has it."""
    shape = SHAPES[0]
    t = random_operands(shape, torch.float32)
    expanded = Operands(
        t.input[:1, :, :1].expand(shape.input_size),
        t.weight[:1, :1].expand(shape.weight_size),
        t.bias[:1].expand(shape.k),
        torch.ones(()).expand(shape.output_size),
    )
    for op in OPS:
        assert_accurate(run(op, shape, expanded, channels_last), op, shape, expanded, True)


@pytest.mark.parametrize("op", OPS)
def test_results_and_scratch_hold_nothing_old(op):
    """Results start out filled with NaN, and the scratch with what a larger call left there."""
    shapes = [shape for shape in AWKWARD if 0 not in shape.output_size]
    poison = [case("", 2, 64, 20, 64, 3), grouped("", 2, 64, 20, 1, 3), case("", 2, 64, 20, 64, 1)]
    torch.use_deterministic_algorithms(True)  # fills torch.empty with NaN
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        for channels_last in (False, True):
            for dtype in (torch.float32, torch.float16):
                for shape in poison:
                    t = random_operands(shape, dtype).map(lambda x: x.fill_(torch.nan))
                    assert run(op, shape, t, channels_last).isnan().all()
                for shape in shapes:
                    t = random_operands(shape, dtype).map(in_layout(channels_last))
                    assert_accurate(run(op, shape, t, channels_last), op, shape, winograd=True)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect and glibc")
@pytest.mark.parametrize("isa", ISA_LEVELS)
@pytest.mark.parametrize("side", ["after", "before"])
def test_nothing_outside_of_the_operands_is_touched(isa, side):
    """A process whose operands end (or begin) at a page it may not touch, and whose allocator
    checks every freed block for overruns, lives."""
    environment = dict(os.environ, TORCHCONV_ISA=isa, MALLOC_PERTURB_="1", MALLOC_CHECK_="3")
    debug_allocator = "libc_malloc_debug.so.0"
    if subprocess.run(
        [sys.executable, "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1])", debug_allocator],
        capture_output=True,
    ).returncode == 0:  # fmt: skip
        environment["LD_PRELOAD"] = debug_allocator
    finished = subprocess.run(
        [sys.executable, "-m", "tests.kernels.memory.guard_pages", side],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if f"{isa} is not supported on this CPU" in finished.stderr:
        pytest.skip(f"this CPU has no {isa}")
    assert finished.returncode == 0, f"{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}"
    assert finished.stdout.endswith("done\n")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@LAYOUTS
@pytest.mark.parametrize("shape", SHAPES, ids=ids(SHAPES))
def test_inf_and_nan_spread_as_in_torch(shape, channels_last, value):
    """One special value in the input or in the gradient reaches exactly the elements that F.conv2d
    and its autograd let it reach."""
    t = random_operands(shape, torch.float64).map(lambda x: x.abs() + 0.1)
    t.input[0, 1, 2, 3] = value
    t.grad[-1, -1, 1, 2] = value
    x, weight = t.input.clone().requires_grad_(), t.weight.clone().requires_grad_()
    output = F.conv2d(
        x, weight, t.bias, shape.stride, shape.torch_padding, shape.dilation, shape.groups
    )
    gradients = torch.autograd.grad(output, (x, weight), t.grad)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        same = t.map(lambda x, dtype=dtype: x.to(dtype))
        for op, expected in zip(OPS, (output, *gradients), strict=True):
            found, expected = run(op, shape, same, channels_last).double(), expected.detach()
            finite = expected.isfinite()
            assert torch.equal(found.isfinite(), finite), (op, dtype)
            assert torch.equal(found[~finite].nan_to_num(7.0), expected[~finite].nan_to_num(7.0))


def freed(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


def shrunk(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor.untyped_storage().resize_(tensor.untyped_storage().nbytes() - 1)
    return tensor


def freed_view(tensor: torch.Tensor) -> torch.Tensor:
    """Its storage is gone and its offset is not zero, nor is its address."""
    whole = tensor.new_zeros(tensor.numel() + 64)
    view = whole[64:].view(tensor.shape)
    whole.untyped_storage().resize_(0)
    return view


USED = {"forward": "input weight bias", "grad_input": "grad weight", "grad_weight": "grad input"}


@LAYOUTS
@pytest.mark.parametrize("lose", [freed, shrunk, freed_view])
def test_storage_that_is_not_there_is_an_error(lose, channels_last):
    """resize_(0) on a storage frees it, which is what FSDP does to the parameters of layers not in
    use. F.conv2d raises RuntimeError for it; reading on would end the process."""
    shape = SHAPES[0]
    t = random_operands(shape, torch.float32)
    assert t.bias is not None
    for op in OPS:
        for name in USED[op].split():
            gone = replace(t, **{name: lose(getattr(t, name))})
            with pytest.raises(
                RuntimeError, match=f"^torchconv: the data of {name} .*not allocated"
            ):
                run(op, shape, gone, channels_last)


def test_layer_whose_parameters_are_freed():
    """The same through a layer, before the forward and before the backward pass."""
    for when in ("forward", "backward"):
        for name in ("weight", "bias", "input"):
            layer = torchconv.Conv2d(3, 4, 3)
            x = torch.randn(2, 3, 8, 8, requires_grad=True)
            tensor = x if name == "input" else getattr(layer, name)
            if when == "backward":
                output = layer(x).sum()
                tensor.data.untyped_storage().resize_(0)
                if name == "bias":  # not needed any more
                    output.backward()
                    continue
                with pytest.raises(RuntimeError, match="not allocated"):
                    output.backward()
            else:
                tensor.data.untyped_storage().resize_(0)
                with pytest.raises(RuntimeError, match="not allocated"):
                    layer(x)
