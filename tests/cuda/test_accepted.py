"""What a CUDA kernel must show before it runs by itself, and the file that remembers it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.cuda.dispatched import CAPABILITY, ENTRY
from tests.reference import OPS
from torchconv._gpu import acceptance


def why_not(entry: acceptance.Entry, **asked) -> str | None:
    accepted = acceptance.Accepted([entry], {"fast": "c0ffee"})
    return accepted.why_not(ENTRY.key._replace(**asked))


def test_an_accepted_kernel_may_run():
    """However slowly Python issues its calls: what counts is the GPU."""
    assert why_not(ENTRY) is None


@pytest.mark.parametrize(
    "asked",
    [
        dict(capability="8.0"),
        dict(kernel="other"),
        dict(kernel="fast.channels"),
        dict(size="5x5"),
        dict(stride="2x2"),
        dict(dilation="2x2"),
        dict(op="grad_weight"),
        dict(dtype="bfloat16"),
        dict(layout="nchw"),
    ],
    ids=str,
)
def test_acceptance_is_for_one_kind_of_call(asked):
    (value,) = asked.values()
    told = why_not(ENTRY, **asked)
    assert "has not been accepted" in told and value in told


def test_a_kernel_whose_source_has_changed_is_not_accepted():
    assert "has changed" in why_not(replace(ENTRY, source="another"))
    assert "has changed" in acceptance.Accepted([ENTRY], {}).why_not(ENTRY.key)
    unknown = replace(ENTRY, source="")
    assert acceptance.Accepted([unknown], {"fast": ""}).why_not(ENTRY.key) is not None


@pytest.mark.parametrize("ratio, runs", [(1.0, True), (0.99, False), (float("nan"), False)])
def test_a_slower_kernel_is_not_accepted(ratio, runs):
    assert (why_not(replace(ENTRY, ratio=ratio)) is None) is runs


@pytest.mark.parametrize("layers, runs", [(2, True), (1, False), (0, False)])
def test_one_layer_is_not_enough(layers, runs):
    assert (why_not(replace(ENTRY, layers=layers)) is None) is runs


def test_a_kernel_that_failed_is_not_accepted():
    assert "signal 11 on" in why_not(replace(ENTRY, problem="ended by signal 11 on a case"))


def test_an_entry_keeps_no_other_kernel_out():
    slow = replace(ENTRY, kernel="fast.channels", ratio=0.5)
    accepted = acceptance.Accepted([ENTRY, slow], {"fast": "c0ffee"})
    assert accepted.why_not(ENTRY.key) is None and "0.50" in accepted.why_not(slow.key)


def test_capabilities_are_those_with_something_to_run():
    slow = replace(ENTRY, capability="8.0", ratio=0.5)
    assert acceptance.Accepted([ENTRY, slow], {"fast": "c0ffee"}).capabilities == {CAPABILITY}
    assert acceptance.Accepted([ENTRY], {"fast": "other"}).capabilities == frozenset()


def test_the_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "accepted.json"
    assert acceptance.read(path) == []
    entries = [replace(ENTRY, op=op) for op in OPS]
    acceptance.write(entries[::-1], path)
    assert acceptance.read(path) == entries
    assert len(path.read_text().splitlines()) == len(entries) + 2
    loaded = acceptance.load("fast c0ffee\nslow \n", path)
    assert loaded.why_not(ENTRY.key) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"accepted": [{"gpu": "x"}]}', '{"accepted": [{"unknown": 1}]}'],
)
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "accepted.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="accepted.json"):
        acceptance.read(path)


def test_a_value_of_the_wrong_type_is_named(tmp_path):
    path = tmp_path / "accepted.json"
    acceptance.write([ENTRY], path)
    path.write_text(path.read_text().replace("1.2", '"1.2"'))
    with pytest.raises(ValueError, match="ratio must be float"):
        acceptance.read(path)


def test_the_file_of_the_package_can_be_read():
    assert json.loads(acceptance.FILE.read_text()).keys() == {"accepted"}
    acceptance.read()
