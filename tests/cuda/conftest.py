"""Tensors that stand for tensors on a GPU, and a GPU that has accepted what a test wants."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.cuda.dispatched import CAPABILITY, ENTRY
from torchconv._gpu import acceptance, dispatch


@pytest.fixture
def gpu():
    """Tensors without data, which may be on a GPU."""
    with FakeTensorMode():
        yield lambda *size, **options: torch.empty(size, device="cuda", **options)


@pytest.fixture
def accept(monkeypatch):
    """Lets a GPU accept every algorithm for (operator, dtype, layout)."""

    def accept_all(*wanted):
        names = [line.split()[0] for line in torch.ops.torchconv._algorithms_cuda().splitlines()]
        entries = [
            replace(ENTRY, kernel=name, op=op, dtype=dtype, layout=layout)
            for name in names
            for op, dtype, layout in wanted
        ]
        answers = acceptance.Accepted(entries, dict.fromkeys(names, ENTRY.source))
        monkeypatch.setattr(dispatch, "accepted", lambda: answers)
        monkeypatch.setattr(dispatch, "capability", lambda index: CAPABILITY)
        dispatch._reasons.cache_clear()

    yield accept_all
    dispatch._reasons.cache_clear()
