"""Every algorithm on every case that it applies to, held against float64."""

from __future__ import annotations

import pytest
import torch

from tests.awkward import AWKWARD
from tests.cases import Conv2dCase, case, grouped, ids
from tests.cuda.gpu import require_gpu
from tests.cuda.gpu.operators import TF32, applicable, forced, on_gpu, run_poisoned
from tests.reference import (
    DTYPES,
    OPS,
    Operands,
    assert_accurate,
    exact_and_magnitude,
    random_operands,
)

require_gpu()
pytestmark = [pytest.mark.cuda, pytest.mark.each_algorithm]

# Whole tiles of tensor cores and the counts beside them, which the small cases do not reach.
LARGER = (
    *(case(f"c={c}_k={k}", 2, c, 14, k, 3, bias=True) for c in (63, 64, 65) for k in (127, 128)),
    case("1x1_256", 3, 256, 14, 130, 1, bias=True),
    case("stem", 2, 3, 64, 64, 7, 2),
    case("groups_8of8", 2, 64, 14, 64, 3, groups=8, bias=True),
    case("groups_4of16", 17, 64, 14, 64, 3, 2, groups=4),
    *(grouped(f"depthwise{k}_n=17", 17, 8, 28, 1, k, bias=True) for k in (3, 5, 7, 9, 13)),
    *(grouped(f"depthwise{k}_s2", 5, 40, 29, 1, k, stride=2) for k in (3, 5, 7)),
    grouped("depthwise_31_n=16", 16, 1, 33, 1, 31),
    case("many_images", 70, 16, 9, 24, 3),
)
CASES = (*AWKWARD, *LARGER)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_accuracy(case: Conv2dCase, dtype: torch.dtype):
    for op in OPS:
        for channels_last in (False, True):
            names = applicable(op, case, dtype, channels_last)
            t = on_gpu(random_operands(case, dtype), channels_last) if names else None
            for name in names:
                with forced(name):
                    found = run_poisoned(op, case, t, channels_last)
                try:
                    assert_accurate(found.cpu(), op, case)
                except AssertionError as error:
                    layout = "channels_last" if channels_last else "contiguous"
                    raise AssertionError(f"{name}, {layout}: {error}") from None
                expected = torch.channels_last if channels_last else torch.contiguous_format
                assert found.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("case", CASES[::7], ids=ids(CASES[::7]))
def test_tf32(case: Conv2dCase):
    """Operands rounded to 10 bits of mantissa, sums in float32."""
    cpu = random_operands(case, torch.float32)
    for op in OPS:
        names = {last: applicable(op, case, torch.float32, last) for last in (False, True)}
        if not any(names.values()):
            continue
        value, magnitude = exact_and_magnitude(op, case, cpu)
        for channels_last in (False, True):
            t = on_gpu(cpu, channels_last)
            for name in names[channels_last]:
                with forced(name):
                    found = run_poisoned(op, case, t, channels_last, TF32).cpu().double()
                assert ((found - value).abs() <= magnitude * 2**-10 + 1e-30).all(), (name, op)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_operands_of_any_strides(dtype: torch.dtype):
    """Views, expanded gradients, weights of the other memory format."""
    layer = case("views", 2, 6, 11, 8, 3, bias=True)
    t = random_operands(layer, dtype)
    grad = t.grad[:1, :, :1, :1].expand(layer.output_size)
    cpu = Operands(t.input, t.weight, t.bias, grad)
    wide = torch.randn(2, 12, 11, 22).to(dtype).cuda()
    wide[:, ::2, :, ::2] = t.input.cuda()
    flipped = t.weight.cuda().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    bias = t.bias.cuda()[:, None].expand(-1, 2).contiguous()[:, 0]
    views = Operands(wide[:, ::2, :, ::2], flipped, bias, grad[:, :, :1, :1].cuda().expand_as(grad))
    for op in OPS:
        for channels_last in (False, True):
            for name in applicable(op, layer, dtype, channels_last):
                with forced(name):
                    found = run_poisoned(op, layer, views, channels_last)
                assert_accurate(found.cpu(), op, layer, cpu)
