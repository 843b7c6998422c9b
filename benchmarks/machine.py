"""The machine a row was measured on: its name in file names, its FMA peak at that moment, and the
instruction sets that it has."""

from __future__ import annotations

import functools
import re

import torch

from torchconv._machine import cpu_name

ISA_LEVELS = ("portable", "avx2", "avx512", "avx512_bf16")  # of TORCHCONV_ISA, the slowest first


@functools.cache
def isa_levels() -> tuple[str, ...]:
    """Those of ISA_LEVELS that this CPU has; the first call ends with none of them forced."""
    found = []
    try:
        for level in ISA_LEVELS:
            try:
                torch.ops.torchconv._force_isa(level)
            except RuntimeError:
                continue
            found.append(level)
    finally:
        torch.ops.torchconv._force_isa("")
    return tuple(found)


def environment(level: str | None = None) -> str:
    """Slug of torch, processor, ISA level and threads, such as `torch215-amd-epyc-avx512-2t`.

    `level`: another than the one in use."""
    major, minor = torch.__version__.split(".")[:2]
    name = re.sub(r"\((r|tm)\)|\bcpu\b|@.*|\bprocessor\b", " ", cpu_name().lower())
    name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    isa = level or torch.ops.torchconv._isa()
    return f"torch{major}{minor}-{name}-{isa}-{torch.get_num_threads()}t"


def fma_peak(dtype: torch.dtype, threads: int | None = None) -> float:
    """GF/s of fused multiply-adds on registers alone, now, on all threads torch may use or on so
    many.

    Half types are multiplied in float32; float64 has half as many lanes."""
    peak = torch.ops.torchconv._fma_peak(threads or torch.get_num_threads())
    return peak / 2 if dtype == torch.float64 else peak
