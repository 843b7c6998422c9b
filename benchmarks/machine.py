"""The machine a row was measured on: its name in file names, and its FMA peak at that moment."""

from __future__ import annotations

import re

import torch

from torchconv._machine import cpu_name


def environment() -> str:
    """Slug of torch, processor, ISA level and threads, such as `torch215-amd-epyc-avx512-2t`."""
    major, minor = torch.__version__.split(".")[:2]
    name = re.sub(r"\((r|tm)\)|\bcpu\b|@.*|\bprocessor\b", " ", cpu_name().lower())
    name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    isa = torch.ops.torchconv._isa()
    return f"torch{major}{minor}-{name}-{isa}-{torch.get_num_threads()}t"


def fma_peak(dtype: torch.dtype) -> float:
    """GF/s of fused multiply-adds on registers alone, now, on all threads torch may use.

    Half types are multiplied in float32; float64 has half as many lanes."""
    peak = torch.ops.torchconv._fma_peak(torch.get_num_threads())
    return peak / 2 if dtype == torch.float64 else peak
