"""What the switch for Winograd's algorithms does to results and to what explain tells."""

import pytest
import torch

import torchconv
from tests.compare import same_bits

# A layer of ResNet's, large enough to repay the transforms.
IMAGE, FILTERS = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3) / 24
DIRECT = ("dense_channels", "dense_pixels", "grad_weight")


def results(mode):
    """Output and both gradients, by operator."""
    image, filters = IMAGE.clone().requires_grad_(), FILTERS.clone().requires_grad_()
    output = torchconv.conv2d(image, filters, padding=1, winograd=mode)
    gradients = torch.autograd.grad(output.square().sum(), (image, filters))
    return dict(zip(("forward", "grad_input", "grad_weight"), (output, *gradients), strict=True))


def explained(mode):
    """By operator, the algorithms that were asked and what they said."""
    found, said = {}, {}
    for line in torchconv.explain(IMAGE, FILTERS, padding=1, winograd=mode).splitlines():
        *op, algorithm, reason = line.split(": ")
        said = found.setdefault(op[0], {}) if op else said
        said[algorithm] = reason
    return found


def running(mode):
    return {
        op: next(name for name, reason in said.items() if reason == "runs")
        for op, said in explained(mode).items()
    }


def test_off_gives_the_bits_of_the_direct_sums():
    assert not any(name.startswith("winograd") for name in running("off").values())
    expected = results("off")
    for name in DIRECT:
        torch.ops.torchconv._force_algorithm(name)
        try:
            for op, result in results("off").items():
                assert same_bits(result, expected[op]), (name, op)
        finally:
            torch.ops.torchconv._force_algorithm("")


@pytest.mark.parametrize("op", ["forward", "grad_input", "grad_weight"])
@pytest.mark.parametrize("mode", ["auto", "f2"])
def test_winograd_runs_where_it_may(mode, op):
    name = running(mode)[op]
    if not name.startswith("winograd"):
        pytest.skip(f"no algorithm of Winograd's computes {op} of this layer in mode {mode}")
    assert explained("off")[op][name] == "winograd is off"
    direct, fast = results("off")[op], results(mode)[op]
    assert not same_bits(direct, fast)
    error = (direct - fast).square().mean().sqrt() / direct.square().mean().sqrt()
    assert error < (2e-6 if mode == "f2" else 2e-5)


def test_f2_says_what_it_leaves_out():
    left_out = {
        name
        for op, name in running("auto").items()
        if explained("f2")[op].get(name) == "winograd is f2"
    }
    if not left_out:
        pytest.skip("auto and f2 choose the same algorithms for this layer")
    assert all(name.startswith("winograd") for name in left_out)
