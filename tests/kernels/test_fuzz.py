"""Random convolutions, as many as fit into some seconds, and what they have found so far.

TORCHCONV_FUZZ_SECONDS is how long to look (10 if it is not set). `python -m tests.fuzz --seed N`
looks at the same ones again.
"""

from __future__ import annotations

import os
import secrets

import pytest
import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.cases import Conv2dCase
from tests.fuzz import checks
from tests.fuzz.run import fuzz
from tests.fuzz.samples import Sample

SECONDS = float(os.environ.get("TORCHCONV_FUZZ_SECONDS", "10"))

# What the fuzzer prints when it finds something is pasted here.
PINNED = (
    # A kernel as large as its image, its weight in another memory format than its input.
    Sample(
        Conv2dCase("found", 2, 5, 3, 4, 9, 3, 4, bias=True),
        memory=("dense", "channels_last", "stepped"),
    ),
    # Padded rows and an infinity in grad, over sums long enough to leave padding out.
    Sample(
        Conv2dCase("found", 1, 48, 4, 5, 48, 3, 3, padding=(1, 1, 1, 1)),
        values=("normal", "normal", "special"),
        seed=7,
    ),
    # More images than are summed at once, twice over.
    Sample(Conv2dCase("found", 1100, 2, 2, 3, 3, 1, 2), "float64", channels_last=True),
    # Rows of grad that no element of the result sees, in a copy of several channels.
    Sample(
        Conv2dCase(
            "found", 1, 17, 2, 1, 17, 4, 1, padding=(11, 9, 0, 0), dilation=(3, 1), groups=17
        )
    ),
)


@pytest.mark.parametrize("sample", PINNED, ids=range(len(PINNED)))
def test_what_was_found(sample):
    checks.check(sample)


@pytest.mark.slow
def test_random_convolutions():
    seed = secrets.randbelow(2**31)
    print(f"python -m tests.fuzz --seed {seed}")
    count, problem = fuzz(SECONDS, seed)
    assert problem is None, f"seed {seed}: {problem}"
    assert count > 0


def last_tap_dropped(op, shape, t, found):
    """Where there are several: a loop that ends too soon."""
    if op != "forward" or shape.r * shape.s == 1:
        return found
    weight = t.weight.clone()
    weight[..., -1, -1] = 0
    geometry = shape.geometry(found.is_contiguous(memory_format=torch.channels_last))
    return torch.ops.torchconv.conv2d(t.input, weight, t.bias, geometry)


def sign_of_one_zero(op, shape, t, found):
    """At one level."""
    if op == "grad_weight" or torch.ops.torchconv._isa() != "portable" or (found != 0).all():
        return found
    flat = found.clone().flatten()
    first = (flat == 0).nonzero()[0]
    flat[first] = -flat[first]
    return flat.view(found.shape)


def last_bit_in_a_batch(op, shape, t, found):
    """The first image has another last bit if it is not alone."""
    if op == "grad_weight" or shape.n == 1:
        return found
    found = found.clone()
    found[0] = torch.nextafter(found[0], found[0] + 1)
    return found


@pytest.mark.parametrize("wrong", [last_tap_dropped, sign_of_one_zero, last_bit_in_a_batch])
def test_a_planted_fault_is_found_and_made_small(monkeypatch, wrong):
    right = checks.run

    def planted(op, shape, t, channels_last=False, winograd="auto"):
        return wrong(op, shape, t, right(op, shape, t, channels_last, winograd))

    monkeypatch.setattr(checks, "run", planted)
    _, problem = fuzz(seconds=120, seed=0)
    assert problem is not None, "not found"
    found = eval(problem.splitlines()[-1].strip().rstrip(","))
    with pytest.raises(AssertionError):
        checks.check(found)
    shape = found.shape
    # On a busy machine Hypothesis stops making it smaller before it is as small as it can be.
    assert max(shape.n, shape.c, shape.k, shape.r, shape.s, *shape.stride, *shape.dilation) <= 9
    assert shape.h * shape.w <= 400, found
