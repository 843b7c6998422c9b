"""What is asked of every random convolution.

Values: each of the three operators within the rounding error of its sum, from sum |a||b| in
float64; NaN and infinity where float64 has them. Bits, as integers: those of the readable reference
(where Winograd's sums are chosen, they have their own) in both layouts; alone or in a batch; on any
number of threads; at every level. Second derivatives as those of F.conv2d. Operands stay as they
are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

import torchconv
from benchmarks.machine import isa_levels
from tests.compare import assert_near, bits, same_bits
from tests.fuzz.samples import DTYPES, Sample
from tests.reference import OPS, Operands, exact, exact_and_magnitude, run, terms, threads


def check(sample: Sample) -> None:
    """Raises AssertionError for the first promise that does not hold."""
    t = sample.operands()
    before = t.map(lambda x: bits(x).clone())
    try:
        for op in OPS:
            direct = run(op, sample.shape, t, sample.channels_last, "off")
            assert_accurate(direct, op, sample, t)
            assert_same_bits(direct, op, sample, t, "off")
            chosen = run(op, sample.shape, t, sample.channels_last)
            if not same_bits(chosen, direct, any_nan=True):
                assert_near_direct(chosen, direct, op, sample, t)
                assert_same_bits(chosen, op, sample, t, "auto")
        assert_backward(sample, t)
    finally:
        torch.ops.torchconv._force_isa("")
        torch.ops.torchconv._force_algorithm("")
    after = t.map(bits)
    for name in ("input", "weight", "bias", "grad"):
        old, new = getattr(before, name), getattr(after, name)
        assert old is None or torch.equal(old, new), f"{name} was written to"
    if sample.dtype == "float64" and not {"huge", "special"} & set(sample.values):
        assert_second_derivatives(sample, t)


def seen(x: torch.Tensor) -> torch.Tensor:
    """In float64 what the kernels calculate with: what is denormal in the type of the sums is 0."""
    sums = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.where(x.double().abs() < torch.finfo(sums).tiny, 0.0, x.double())


def assert_accurate(found: torch.Tensor, op: str, sample: Sample, t: Operands) -> None:
    shape, dtype = sample.shape, DTYPES[sample.dtype]
    sums = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    t = t.map(seen)
    value, magnitude = exact_and_magnitude(op, shape, t)
    assert found.shape == value.shape and found.dtype == dtype
    count = terms(op, shape)
    # Roundings of one and the same product do not cancel out.
    roundings = count if "expanded" in sample.memory else count**0.5
    tolerance = magnitude * sums.eps * (2 + roundings) + sums.tiny * (2 + count)
    if dtype.itemsize == 2:
        info = torch.finfo(dtype)
        tolerance += value.abs() * info.eps / 2 * (1 + info.eps) + info.smallest_normal * info.eps
    got = found.double()
    # A sum that might leave the range of its type is anything; one with an infinity is not.
    most = min(sums.max, torch.finfo(dtype).max)
    bad = ~((got - value).abs() <= tolerance) & (magnitude < most)
    if "special" in sample.values:
        lost = ~magnitude.isfinite()
        same = (got == value) | (got.isnan() & value.isnan())
        bad |= lost & ~same
    if special_weight_in_gradient(op, sample):  # zero times infinity, where there is no grad
        bad &= ~got.isnan()
    if bad.any():
        first = tuple(int(i) for i in bad.nonzero()[0])
        raise AssertionError(
            f"{op}: {int(bad.sum())} of {bad.numel()} elements are off; {first} is "
            f"{got[first].item()}, not {value[first].item()} (at most "
            f"{tolerance[first].item():.2g} away)"
        )


def special_weight_in_gradient(op: str, sample: Sample) -> bool:
    """Whether the input gradient meets a weight that is not finite. The reference multiplies it
    with the zeros around grad; whoever leaves them out gives fewer NaN. Both are right."""
    return op == "grad_input" and sample.values[1] == "special"


def assert_near_direct(
    found: torch.Tensor, direct: torch.Tensor, op: str, sample: Sample, t: Operands
) -> None:
    """Winograd's sums: off by little beside the largest ones, and where a direct sum is not finite,
    neither are they."""
    if "huge" in sample.values:
        return
    if "special" in sample.values:
        assert not found[~direct.isfinite()].isfinite().any(), f"{op}: an infinity is lost"
        return
    magnitude = exact(op, sample.shape, t.map(seen).map(torch.abs)).max()
    eps = (
        torch.finfo(torch.float32).eps + (found.dtype.itemsize == 2) * torch.finfo(found.dtype).eps
    )
    tolerance = magnitude * eps * (2 + terms(op, sample.shape) ** 0.5)
    worst = (found.double() - direct.double()).abs().max()
    assert worst <= tolerance, f"{op}: {worst:.2g} from the direct sums (at most {tolerance:.2g})"


def assert_same_bits(
    found: torch.Tensor, op: str, sample: Sample, t: Operands, winograd: str
) -> None:
    shape = sample.shape
    any_nan = {"special", "huge"} & set(sample.values) != set()

    def same(other: torch.Tensor, expected: torch.Tensor, what: str) -> None:
        assert same_bits(other, expected, any_nan), f"{op}: other bits {what}"

    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        same(run(op, shape, t, sample.channels_last, winograd), found, f"at level {level}")
    torch.ops.torchconv._force_isa("")
    for count in (1, 3):
        with threads(count):
            same(run(op, shape, t, sample.channels_last, winograd), found, f"on {count} threads")
    if op == "grad_weight" or special_weight_in_gradient(op, sample):
        return
    same(run(op, shape, t, not sample.channels_last, winograd), found, "in the other layout")
    if winograd == "off":
        torch.ops.torchconv._force_algorithm("reference")
        same(run(op, shape, t, sample.channels_last), found, "than the readable reference")
        torch.ops.torchconv._force_algorithm("")
    one = sample.seed % shape.n
    part = Operands(t.input[one : one + 1], t.weight, t.bias, t.grad[one : one + 1])
    alone = run(op, shape.with_batch(1), part, sample.channels_last, winograd)
    same(alone, found[one : one + 1], "alone than in its batch")


def assert_backward(sample: Sample, t: Operands) -> None:
    """All gradients at once have the bits of one after the other; that of the bias is the sum of
    grad, with the same bits at every level and on any number of threads."""
    shape, geometry = sample.shape, sample.shape.geometry(sample.channels_last)
    any_nan = {"special", "huge"} & set(sample.values) != set()

    def backward():
        return torch.ops.torchconv.conv2d_backward(
            t.grad, t.input, t.weight, shape.weight_size, geometry, True
        )

    grad_input, grad_weight, grad_bias = backward()
    for op, found in (("grad_input", grad_input), ("grad_weight", grad_weight)):
        alone = run(op, shape, t, sample.channels_last)
        assert same_bits(found, alone, any_nan), f"backward: other bits of {op} than alone"
    for level in isa_levels():
        torch.ops.torchconv._force_isa(level)
        assert same_bits(backward()[2], grad_bias, any_nan), f"bias: other bits at level {level}"
    torch.ops.torchconv._force_isa("")
    for count in (1, 3):
        with threads(count):
            found = backward()[2]
        assert same_bits(found, grad_bias, any_nan), f"bias: other bits on {count} threads"

    grad = seen(t.grad)
    value, magnitude = grad.sum((0, 2, 3)), grad.abs().sum((0, 2, 3))
    sums = torch.finfo(torch.float64 if t.grad.dtype == torch.float64 else torch.float32)
    count = shape.n * shape.p * shape.q
    roundings = count if "expanded" in sample.memory else count**0.5
    tolerance = magnitude * sums.eps * (2 + roundings) + sums.tiny * (2 + count)
    info = torch.finfo(t.grad.dtype)
    if t.grad.dtype.itemsize == 2:
        tolerance += value.abs() * info.eps / 2 * (1 + info.eps) + info.smallest_normal * info.eps
    got = grad_bias.double()
    same = (got == value) | (got.isnan() & value.isnan())
    bad = ~((got - value).abs() <= tolerance) & (magnitude < min(sums.max, info.max))
    bad |= ~magnitude.isfinite() & ~same
    assert not bad.any(), f"bias: {got.tolist()}, not {value.tolist()}"


def assert_second_derivatives(sample: Sample, t: Operands) -> None:
    """Of sum(gx * a) + sum(gw * b) with respect to input, weight and grad."""
    shape = sample.shape
    top, bottom, left, right = shape.padding
    results = []
    for conv2d in (torchconv.conv2d, F.conv2d):
        x, w, gy = (v.detach().clone().requires_grad_() for v in (t.input, t.weight, t.grad))
        padded = F.pad(x, (left, right, top, bottom)) if len({top, bottom, left, right}) > 1 else x
        padding = 0 if padded is not x else top
        y = conv2d(padded, w, t.bias, shape.stride, padding, shape.dilation, shape.groups)
        gx, gw = torch.autograd.grad(y, (x, w), gy, create_graph=True)
        generator = torch.Generator().manual_seed(sample.seed)
        a = torch.randn(gx.shape, generator=generator, dtype=gx.dtype)
        b = torch.randn(gw.shape, generator=generator, dtype=gw.dtype)
        scalar = (gx * a).sum() + (gw * b).sum()
        results.append(torch.autograd.grad(scalar, (x, w, gy)))
    for name, ours, theirs in zip(("input", "weight", "grad"), *results, strict=True):
        try:
            assert_near(ours, theirs, 1e-11)
        except AssertionError as error:
            raise AssertionError(f"second derivative of {name}: {error}") from None
