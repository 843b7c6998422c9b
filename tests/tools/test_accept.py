"""From what a run on a GPU has measured to the kernels that may run by themselves."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from tools import accept
from torchconv._gpu import acceptance

GPU = "Test GPU"
ROW = dict(
    gpu=GPU, capability="9.9", driver="1", torch="2.14", cudnn="9", case="net/layer", batch="64",
    kernel="fast.planes", size="3x3", stride="1x1", dilation="1x1", op="forward", dtype="float16",
    layout="nhwc", source="c0ffee", status="ok", ratio="1.5", eager_ratio="0.7",
)  # fmt: skip
OTHER = {**ROW, "case": "net/other"}
SMOKE = dict(
    capability="9.9",
    kernel="fast.planes",
    op="forward",
    source="c0ffee",
    status="passed",
    detail="",
)
TESTS = dict(capability="9.9", algorithm="fast", source="c0ffee", status="passed", detail="")


def entry(rows, smoke=(SMOKE,), tests=(TESTS,)) -> acceptance.Entry:
    (found,) = accept.entries_of(rows, smoke, tests, "2026-11-24")
    return found


def why_not(found: acceptance.Entry) -> str | None:
    return acceptance.Accepted([found], {"fast": "c0ffee"}).why_not(found.key)


def test_the_slowest_layer_decides_in_a_graph():
    """Not the time Python needs, and not a layer of one image, where the launch decides."""
    alone = {**ROW, "case": "net/third", "batch": "1", "ratio": "0.2"}
    found = entry([ROW, {**OTHER, "ratio": "1.2"}, alone])
    assert (found.ratio, found.eager_ratio, found.layers) == (1.2, 0.7, 2)
    assert why_not(found) is None
    assert "0.90" in why_not(entry([ROW, {**OTHER, "ratio": "0.9"}]))
    assert "a single layer" in why_not(entry([ROW, ROW]))
    assert not accept.entries_of([alone], [SMOKE], [TESTS], "")


@pytest.mark.parametrize(
    "name, value",
    [("kernel", "fast.channels"), ("size", "5x5"), ("stride", "2x2"), ("op", "grad_input")],
)
def test_a_slow_kernel_keeps_no_other_out(name, value):
    slow = [{**row, name: value, "ratio": "0.5"} for row in (ROW, OTHER)]
    found = accept.entries_of(
        [ROW, OTHER, *slow], [SMOKE, {**SMOKE, name: value}], [TESTS], "2026-11-24"
    )
    assert [why_not(one) is None for one in found] == [True, False]


@pytest.mark.parametrize(
    "smoke, tests, told",
    [
        ([], [TESTS], "no smoke run of it"),
        ([SMOKE], [], "no tests of it"),
        ([{**SMOKE, "source": "older"}], [TESTS], "no smoke run of it"),
        ([{**SMOKE, "capability": "8.0"}], [TESTS], "no smoke run of it"),
        ([SMOKE, {**SMOKE, "status": "failed", "detail": "off"}], [TESTS], "failed: off"),
        ([SMOKE], [{**TESTS, "status": "out of time"}], "out of time"),
        ([SMOKE], [{**TESTS, "status": "ended by signal 6"}], "ended by signal 6"),
    ],
)
def test_a_kernel_that_was_not_tried_or_failed_is_not_accepted(smoke, tests, told):
    assert told in why_not(entry([ROW, OTHER], smoke, tests))


def test_what_fails_elsewhere_forbids_nothing():
    """Another algorithm, another kernel of this one, torch.compile; and time can be had again."""
    smoke = [SMOKE, {**SMOKE, "kernel": "fast.any", "status": "failed"},
             {**SMOKE, "op": "grad_weight", "status": "failed"}]  # fmt: skip
    tests = [{**TESTS, "status": "out of time"}, TESTS,
             {**TESTS, "algorithm": "-", "status": "failed"},
             {**TESTS, "algorithm": "slow", "status": "failed"}]  # fmt: skip
    assert why_not(entry([ROW, OTHER], smoke, tests)) is None


def test_a_wrong_result_keeps_its_kernel_out():
    wrong = {**ROW, "case": "net/third", "status": "wrong result", "ratio": "nan"}
    assert "net/third: wrong result" in why_not(entry([ROW, OTHER, wrong]))


@pytest.mark.parametrize(
    "rows", [[{**ROW, "source": ""}], [ROW, {**ROW, "source": "other"}]], ids=["none", "two"]
)
def test_a_measurement_belongs_to_one_source(rows):
    with pytest.raises(ValueError, match="source"):
        accept.entries_of(rows, [SMOKE], [TESTS], "2026-11-24")


def write_rows(path: Path, rows, ending: str = "") -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        file.write(ending)


def test_a_measurement_becomes_an_acceptance(tmp_path, capsys):
    """From the files of a run that was cut off in the middle of a row to a kernel that may run."""
    path = tmp_path / "accepted.json"
    other = replace(entry([ROW]), capability="8.0")
    acceptance.write([other], path)
    slow = [{**row, "layout": "nchw", "ratio": "0.8"} for row in (ROW, OTHER)]
    write_rows(tmp_path / "benchmark.csv", [ROW, OTHER, *slow], f"{GPU},9.9,1,2.14,9,net/third")
    write_rows(tmp_path / "smoke.csv", [SMOKE])
    write_rows(tmp_path / "tests.csv", [TESTS])
    accept.main([str(tmp_path), "--file", str(path)])
    assert "2 entries, 1 of them let a kernel run by itself" in capsys.readouterr().out
    accepted = acceptance.load("fast c0ffee\n", path)
    key = accept.key_of(ROW)
    assert accepted.why_not(key) is None
    assert "0.80" in accepted.why_not(key._replace(layout="nchw"))
    assert other in acceptance.read(path)

    write_rows(tmp_path / "benchmark.csv", [{**ROW, "ratio": "0.95"}, OTHER])
    accept.main([str(tmp_path), "--file", str(path)])
    assert "0.95" in acceptance.load("fast c0ffee\n", path).why_not(key)
    assert len(acceptance.read(path)) == 3


@pytest.mark.parametrize("missing", accept.FILES)
def test_nothing_is_accepted_from_half_of_the_files(tmp_path, missing):
    for name, rows in zip(accept.FILES, ([SMOKE], [TESTS], [ROW]), strict=True):
        if name != missing:
            write_rows(tmp_path / name, rows)
    with pytest.raises(SystemExit, match=f"nothing was accepted: there is no row of {missing}"):
        accept.main([str(tmp_path), "--file", str(tmp_path / "accepted.json")])
    assert not (tmp_path / "accepted.json").exists()
