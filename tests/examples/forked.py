"""Processes of the training program that begin at once, because what they import is there.

A new interpreter computes for several seconds to import torch, torchvision and the rest. Here the
server of `multiprocessing` imports them, once for each process of the test suite, and forks.
"""

import contextlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

from examples import train
from tests.examples import training  # noqa: F401  imported before the first fork, as the next line is
from torchconv import visualize  # noqa: F401

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


class Forked:
    """A process that calls `function(*arguments)` and exits with what that returns.

    What it prints is in `stdout` and `stderr`.
    """

    def __init__(self, folder: Path, function: Callable[..., int], *arguments, **environment: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        self._process = _server.Process(
            target=_call, args=(self._out, self._err, environment, function, arguments)
        )
        self._process.start()

    def wait(self, seconds: float = 120) -> int:
        """The exit status; a process that is still there after so many seconds is killed."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"no end after {seconds} seconds: {self.stdout}{self.stderr}")
        return self._process.exitcode

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @property
    def stdout(self) -> str:
        return self._out.read_text() if self._out.exists() else ""

    @property
    def stderr(self) -> str:
        return self._err.read_text() if self._err.exists() else ""


def program(folder: Path, *options: str) -> Forked:
    """`python -m examples.train` with these options, on one thread."""
    return Forked(folder, train.main, options)


def several(
    folder: Path, size: int, function: Callable[..., int], *arguments, seconds: float = 120
) -> tuple[list[int], str, str]:
    """`function` in `size` processes, as torchrun starts and ends them.

    The store in which they meet outlives each of them, and when one has failed the others get a
    SIGTERM. Returns the exit statuses and what all wrote to stdout and stderr.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    processes = [
        Forked(
            folder / str(rank), function, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **common
        )
        for rank in range(size)
    ]
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(process.ended for process in processes):
        if any(process.ended and process.wait() for process in processes):
            for process in processes:
                process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.05)
    codes = [process.wait(max(1.0, end - time.monotonic())) for process in processes]
    return codes, "".join(p.stdout for p in processes), "".join(p.stderr for p in processes)


def with_plant(rank: int, place: str, error: BaseException, when: Path, options: Sequence[str]):
    """The program, in whose process `rank` the function at `place` ("module:name") fails."""

    def fail(*_, **__):
        when.write_text(str(time.time()))
        raise error

    if os.environ["RANK"] == str(rank):
        owner, _, name = place.rpartition(".")
        setattr(pkgutil.resolve_name(owner), name, fail)
    return train.main(options)


def _call(out: Path, err: Path, environment: dict, function: Callable[..., int], arguments) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.update(environment)
    # A shell that runs the tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # or a process that is killed leaves a semaphore
    try:
        code = function(*arguments)
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.exit(code)
