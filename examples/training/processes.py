"""One process, or several started by torchrun; the rest of the example need not know which."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from examples import RunError

ENDED = "ended early"  # a key of the store
GRACE = 5.0  # seconds in which the others may still end by themselves

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
        """Runs `work` in the first process while the others wait; an exception stops them all.

        Returns the result in the first process and None in the others.
        """
        result, error = None, None
        if self.first:
            try:
                result = work()
            except Exception as caught:
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


def meet() -> dist.Store | None:
    """What the processes that torchrun started share before they join; None for a single one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    store, _, _ = next(dist.rendezvous("env://"))
    return store


def ends_first(store: dist.Store | None) -> bool:
    """Whether no other process has ended early before this one, which is noted.

    One failure makes all processes fail, because the others wait for the one that is gone. The
    first has the reason; what the others could say only hides it.
    """
    if store is None:
        return True
    try:
        return store.add(ENDED, 1) == 1
    except RuntimeError:  # the process that kept the store was killed, so nobody has spoken
        return True


@contextmanager
def one_speaks(store: dist.Store | None) -> Iterator[None]:
    """Lets an exception pass in the process that fails first; the others end without a word."""
    over = threading.Event()
    if store is not None:
        threading.Thread(target=_end_with_others, args=(store.clone(), over), daemon=True).start()
    try:
        yield
    except Exception:
        if not ends_first(store):
            sys.exit(1)
        raise
    over.set()


def _end_with_others(store: dist.Store, over: threading.Event) -> None:
    """Ends a process that waits inside a library, deaf to signals, for one that has failed."""
    with suppress(RuntimeError):  # the store is gone, and with it the process that kept it
        while not store.check([ENDED]):
            if over.wait(0.5):
                return
        over.wait(GRACE)
        os._exit(1)


@contextmanager
def join(device: str, store: dist.Store | None) -> Iterator[Processes]:
    """Joins the processes that met at `store`; alone where there is none."""
    chosen = _choose_device(device)
    if store is None:
        yield Processes(rank=0, size=1, device=chosen)
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo", store=store, rank=rank, world_size=size
    )
    yield Processes(rank, size, chosen)
    dist.destroy_process_group()  # not after an exception: it may wait for the others


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
