"""The table of errors that README.md points to."""

import pytest
import torch

from benchmarks import accuracy


def test_every_class_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(accuracy, "CLASSES", ((8, 6), (4, 5)))
    monkeypatch.setattr("sys.argv", ["accuracy", "--layout", "nhwc"])
    accuracy.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if "channels" in line]
    assert len(lines) == 2 * len(accuracy.DATA) * len(accuracy.RESULTS)
    for line in lines:
        cells = line.split(" | ")[3:]
        assert len(cells) == len(accuracy.MODES) + 1
        for cell in cells:
            rms, largest = map(float, cell.strip(" |").split(" / "))
            assert 0 < rms <= largest < 1e-4


def test_errors_are_relative_to_the_rms_of_the_result():
    exact = torch.full((2, 8), 10.0, dtype=torch.double)
    found = exact.float()
    found[0, 0] += 1
    rms, largest = accuracy.errors(found, exact)
    assert (rms, largest) == (pytest.approx(0.1 / 4), pytest.approx(0.1))
