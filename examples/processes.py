"""One process, or several started by torchrun; the rest of the example need not know which."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from examples import RunError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def once(self, work: Callable[[], T]) -> T | None:
        """Runs `work` in the first process while the others wait; a RunError stops them all.

        Returns the result in the first process and None in the others.
        """
        result, error = None, None
        if self.first:
            try:
                result = work()
            except RunError as caught:
                error = caught
        if self.size > 1:
            failed = [error is not None]
            dist.broadcast_object_list(failed, src=0, device=self.device)
            if failed[0] and not self.first:
                sys.exit(1)  # the first process says why
        if error is not None:
            raise error
        return result

    def mean(self, value: Tensor) -> Tensor:
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.size
        return value

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def parallel(self, model: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(model) if self.size > 1 else model


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started; alone, when it did not start this one."""
    chosen = _choose_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes(rank=0, size=1, device=chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, chosen)
    finally:
        dist.destroy_process_group()


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"The device {name!r} cannot be used here ({reason}).") from error
    return device
