"""Which layers grouped_channels computes, and that padding is multiplied where it counts."""

import pytest
import torch

from benchmarks.machine import isa_levels
from tests.cases import Conv2dCase, case
from tests.compare import same_bits
from tests.reference import random_operands, run

VECTORS = {"portable": 4, "avx2": 8, "avx512": 16, "avx512_bf16": 16}


def explained(
    level: str, one: Conv2dCase, dtype: str = "float32", channels_last=True, op="forward"
) -> str:
    """What is said of grouped_channels: that it runs, or why it does not."""
    torch.ops.torchconv._force_isa(level)
    text = torch.ops.torchconv._explain(
        op, one.input_size, one.weight_size, one.geometry(channels_last), dtype
    )
    found = dict(line.split(": ", 1) for line in text.splitlines())
    return found["grouped_channels"]


def groups_of(c: int, k: int, kernel=3, groups: int = 8, **options) -> Conv2dCase:
    return case("", 2, c * groups, 10, k * groups, kernel, groups=groups, **options)


@pytest.mark.parametrize("level", isa_levels())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("op", ["forward", "grad_input"])
def test_groups_that_share_a_vector_are_computed_side_by_side(op, dtype, level):
    layers = [groups_of(4, 4), groups_of(4, 4, 1), groups_of(4, 4, stride=2), groups_of(8, 8)]
    for one in layers[: 4 if VECTORS[level] > 8 else 3]:
        assert explained(level, one, dtype, op=op) == "runs", one


@pytest.mark.parametrize("level", isa_levels())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_groups_of_any_width_are(dtype, level):
    """They leave lanes empty; few channels are summed plane by plane."""
    layers = {
        4: [(4, 3), (3, 3), (2, 4), (2, 3)],
        8: [(7, 7), (4, 7), (2, 2), (3, 4)],
        16: [(3, 3), (2, 3), (6, 6), (7, 7), (12, 12), (8, 14)],
    }
    for c, k in layers[VECTORS[level]]:
        assert explained(level, groups_of(c, k, groups=30), dtype) == "runs", (c, k)


@pytest.mark.parametrize("level", [level for level in isa_levels() if level != "avx2"])
def test_source_channels_may_fill_two_vectors(level):
    layers = [(3, 2), (4, 2)] if level == "portable" else [(6, 3), (12, 6), (8, 4), (16, 7)]
    for c, k in layers:
        for kernel in (1, 3):
            assert explained(level, groups_of(c, k, kernel, groups=30)) == "runs", (c, k)


@pytest.mark.parametrize("level", isa_levels())
def test_padding_may_repeat_the_input(level):
    one = groups_of(4, 4)
    geometry = list(one.geometry(True))
    geometry[-1] += 128  # reflect
    torch.ops.torchconv._force_isa(level)
    text = torch.ops.torchconv._explain(
        "forward", one.input_size, one.weight_size, geometry, "float32"
    )
    assert "grouped_channels: runs" in text


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (case("", 1, 4, 9, 4, 3), "one group"),
        (groups_of(8, 8), "more than a vector"),
        (groups_of(2, 2, groups=3), "too few lanes"),
        (groups_of(8, 4), "too many source channels"),
        (groups_of(8, 2), "too many source channels"),
        (groups_of(4, 4, 7), "more than one chain"),
        (groups_of(4, 4, 5), "three taps"),
        (groups_of(4, 4, stride=3), "stride"),
        (groups_of(4, 4, 2, stride=2), "stride"),
        (groups_of(4, 4, stride=2, dilation=2), "stride"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_layers_that_it_refuses(one, reason):
    assert reason in explained("portable", one)


def test_layouts_and_types_that_it_refuses():
    assert "not neighbours" in explained("portable", groups_of(4, 4), channels_last=False)
    assert "float32" in explained("portable", groups_of(4, 4), "float64")


@pytest.mark.parametrize("level", [level for level in isa_levels() if level != "portable"])
def test_groups_that_fill_a_vector_are_left_to_dense_channels(level):
    channels = VECTORS[level]
    assert "fills a vector" in explained(level, groups_of(channels, channels))


@pytest.mark.skipif("avx2" not in isa_levels(), reason="this CPU has no AVX2")
def test_layers_that_it_refuses_with_short_vectors():
    for one in (groups_of(1, 4), groups_of(4, 4, groups=2)):
        assert "short vectors" in explained("avx2", one)
        assert "short vectors" not in explained("portable", one)
    assert "too many source channels" in explained("avx2", groups_of(4, 2))
    assert "too few lanes of a vector" in explained("avx2", groups_of(6, 6))


@pytest.mark.skipif("avx512" not in isa_levels(), reason="this CPU has no AVX-512")
def test_layers_that_leave_too_many_lanes_empty():
    assert "too few lanes of a vector" in explained("avx512", groups_of(9, 9))
    assert explained("avx512", groups_of(9, 9, 1)) == "runs"
    assert "too many source channels" in explained("avx512", groups_of(24, 12, 1))


@pytest.mark.parametrize("level", isa_levels())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("op", ["forward", "grad_input"])
def test_a_weight_that_is_not_finite_meets_the_padding(op, dtype, level):
    """Zero times infinity is NaN there, too, as the definition has it; in its own channel alone."""
    tall = groups_of(4, 4, (3, 1), padding=1)
    # Of two vectors of source channels; where vectors are short, of planes one by one.
    other = groups_of(2, 2) if level == "avx2" else groups_of(4, 2)
    for one in (groups_of(4, 4), groups_of(4, 4, stride=2), tall, other):
        assert explained(level, one, str(dtype).removeprefix("torch."), op=op) == "runs"
        t = random_operands(one, dtype)
        t.weight[5, 1, 0, 0] = torch.inf
        found = run(op, one, t, True)
        torch.ops.torchconv._force_algorithm("reference")
        expected = run(op, one, t, True)
        torch.ops.torchconv._force_algorithm("")
        assert same_bits(found, expected)
        group = 5 // (one.k // one.groups)
        channel = 5 if op == "forward" else group * (one.c // one.groups) + 1
        assert found[:, channel].isnan().any()
        assert found[:, [i for i in range(found.shape[1]) if i != channel]].isfinite().all()
