"""Runs commands in processes of their own, several at a time, each with a time limit: what one of
them does to the GPU, or to itself, is over with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Ended:
    code: int | None  # of its exit, negative for a signal; None if its time was up
    output: str
    seconds: float


@dataclass
class _Running:
    process: subprocess.Popen
    log: IO[bytes]
    start: float
    end: float


def run_all(
    commands: Mapping[str, list[str]],
    limit: float,
    end: float,
    at_once: int,
    tell: Callable[[str, Ended], None],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Calls `tell` with the name of each command as it ends; none takes more than `limit` seconds,
    and none begins or goes on after `end` of time.monotonic(). Returns how many never began."""
    waiting, running = list(commands), {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))
    try:
        while waiting or running:
            while waiting and len(running) < at_once and time.monotonic() < end:
                name = waiting.pop(0)
                running[name] = _start(
                    commands[name], min(time.monotonic() + limit, end), environment
                )
            if not running:
                break
            time.sleep(0.05)
            for name, one in list(running.items()):
                code = one.process.poll()
                if code is None and time.monotonic() < one.end:
                    continue
                del running[name]
                tell(name, _finish(one, code))
    finally:
        for one in running.values():
            _finish(one, None)
        signal.signal(signal.SIGTERM, before)
    return len(waiting)


def _start(command: list[str], end: float, environment: Mapping[str, str] | None) -> _Running:
    log = tempfile.TemporaryFile()  # a pipe that nobody reads would stop the process
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})}, start_new_session=True,
    )  # fmt: skip
    return _Running(process, log, time.monotonic(), end)


def _finish(one: _Running, code: int | None) -> Ended:
    if code is None:
        os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
    with one.log as log:
        log.seek(0)
        return Ended(code, log.read().decode(errors="replace"), time.monotonic() - one.start)
