"""What explain names is what runs: the trace of each call tells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

import torchconv  # noqa: F401  (registers the operators)
from tests.awkward import AWKWARD
from tests.reference import OPS, random_operands, run

FORMATS = {False: torch.contiguous_format, True: torch.channels_last}


def calls():
    """(op, case, its operands, channels_last), of all that compute something."""
    for case in AWKWARD:
        for channels_last, memory_format in FORMATS.items():
            if case.n:
                t = random_operands(case, torch.float32).contiguous(memory_format)
                for op in OPS:
                    yield op, case, t, channels_last


def explained(op, case, t, channels_last) -> str:
    """The last line is about the algorithm that runs."""
    lines = torch.ops.torchconv._explain(
        op, case.input_size, case.weight_size, case.geometry(channels_last), "float32",
    )  # fmt: skip
    return lines.splitlines()[-1].removesuffix(": runs")


def test_explain_names_what_runs():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.explain.test_explain_trace"], cwd=root, capture_output=True,
        text=True,
        env=os.environ | {"TORCHCONV_VERBOSE": "1"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ran = re.findall(r"^(\w+) input .*: (\w+), \w+$", done.stderr, re.MULTILINE)
    every = list(calls())
    assert [op for op, _ in ran] == [op for op, *_ in every]
    for (_, algorithm), call in zip(ran, every, strict=True):
        assert explained(*call) == algorithm, (call[0], call[1], call[3])


if __name__ == "__main__":
    for call in calls():
        run(*call)
