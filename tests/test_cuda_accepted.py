"""What a CUDA kernel must show before it runs by itself, and the file that remembers it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.reference import OPS
from torchconv import _accepted

GPU = "Test GPU"
ENTRY = _accepted.Entry(
    gpu=GPU, algorithm="fast", op="forward", dtype="float16", layout="nhwc", source="c0ffee",
    ratio=1.2, layers=5, torch="2.14.1", date="2026-11-01",
)  # fmt: skip


def why_not(entry: _accepted.Entry, **asked) -> str | None:
    place = dict(zip(("gpu", "algorithm", "op", "dtype", "layout"), ENTRY.key, strict=True))
    return _accepted.Accepted([entry], {"fast": "c0ffee"}).why_not(**(place | asked))


def test_an_accepted_kernel_may_run():
    assert why_not(ENTRY) is None


@pytest.mark.parametrize(
    "asked",
    [
        dict(gpu="Other GPU"),
        dict(algorithm="other"),
        dict(op="grad_weight"),
        dict(dtype="bfloat16"),
        dict(layout="nchw"),
    ],
    ids=str,
)
def test_acceptance_is_for_one_gpu_operator_dtype_and_layout(asked):
    assert "has not been accepted on" in why_not(ENTRY, **asked)


def test_a_kernel_whose_source_has_changed_is_not_accepted():
    assert "has changed" in why_not(replace(ENTRY, source="another"))
    assert "has changed" in _accepted.Accepted([ENTRY], {}).why_not(*ENTRY.key)
    unknown = replace(ENTRY, source="")
    assert _accepted.Accepted([unknown], {"fast": ""}).why_not(*ENTRY.key) is not None


@pytest.mark.parametrize("ratio, runs", [(1.0, True), (0.99, False), (float("nan"), False)])
def test_a_slower_kernel_is_not_accepted(ratio, runs):
    assert (why_not(replace(ENTRY, ratio=ratio)) is None) is runs


def test_gpus_are_those_with_something_to_run():
    slow = replace(ENTRY, gpu="Slow GPU", ratio=0.5)
    assert _accepted.Accepted([ENTRY, slow], {"fast": "c0ffee"}).gpus == {GPU}
    assert _accepted.Accepted([ENTRY], {"fast": "other"}).gpus == frozenset()


def test_the_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "accepted.json"
    assert _accepted.read(path) == []
    entries = [replace(ENTRY, op=op) for op in OPS]
    _accepted.write(entries[::-1], path)
    assert _accepted.read(path) == entries
    assert len(path.read_text().splitlines()) == len(entries) + 2
    loaded = _accepted.load("fast c0ffee\nslow \n", path)
    assert loaded.why_not(*ENTRY.key) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"accepted": [{"gpu": "x"}]}', '{"accepted": [{"unknown": 1}]}'],
)
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "accepted.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="accepted.json"):
        _accepted.read(path)


def test_a_value_of_the_wrong_type_is_named(tmp_path):
    path = tmp_path / "accepted.json"
    _accepted.write([ENTRY], path)
    path.write_text(path.read_text().replace("1.2", '"1.2"'))
    with pytest.raises(ValueError, match="ratio must be float"):
        _accepted.read(path)


def test_the_file_of_the_package_can_be_read():
    assert json.loads(_accepted.FILE.read_text()).keys() == {"accepted"}
    _accepted.read()
