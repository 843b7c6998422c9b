"""Large results are mapped anew for every call: in huge pages they are there sooner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import torchconv

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def flags_at(address: int) -> set[str]:
    """Those of the mapping that holds the address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *fields = line.split()
        if "-" in name and not name.endswith(":"):
            begin, end = (int(part, 16) for part in name.split("-"))
            inside = begin <= address < end
        elif inside and name == "VmFlags:":
            return set(fields)
    raise LookupError(hex(address))


ON_SYSTEMS_WITH_THEM = pytest.mark.skipif(
    not SETTING.exists() or "[never]" in SETTING.read_text(), reason="the system has no huge pages"
)


@ON_SYSTEMS_WITH_THEM
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_large_results_are_in_huge_pages(channels_last):
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.zeros(4, 8, 512, 512).contiguous(memory_format=memory_format).requires_grad_()
    y = torchconv.conv2d(x, torch.ones(10, 8, 1, 1))  # 40 MB
    (grad,) = torch.autograd.grad(y, x, torch.zeros_like(y))
    # glibc maps what is larger than 32 MB by itself; of the other one, 32 MB, that is not certain.
    assert "hg" in flags_at(y.data_ptr() + y.nbytes // 2)
    assert grad.shape == x.shape and not grad.any()


@ON_SYSTEMS_WITH_THEM
@pytest.mark.parametrize("groups", [1, 10])
def test_gradients_of_repeated_padding_are_too(groups):
    x = torch.zeros(1, 10, 1024, 1024).requires_grad_()  # 40 MB
    y = torchconv.conv2d(
        x, torch.ones(10, 10 // groups, 1, 3), padding=(0, 1), groups=groups, padding_mode="reflect"
    )
    (grad,) = torch.autograd.grad(y, x, torch.zeros_like(y))
    assert "hg" in flags_at(grad.data_ptr() + grad.nbytes // 2)
