"""Benchmarks wait for a quiet machine; their tests, which run beside others, do not."""

from __future__ import annotations

import pytest

from benchmarks import own_cores


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(own_cores, "_cores", own_cores.OwnCores(float, lambda seconds: None))
