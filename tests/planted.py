"""Pairs of training processes, of which one fails in a place that is chosen.

`python -m tests.planted DIRECTORY` does all that `FAILURES` names at once. Each pair meets at a
store in this process, as it would at torchrun's. Forked, they need not import PyTorch again.
"""

import json
import os
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from examples import RunError, checkpoint, train
from examples.learner import Learner
from tests.training import SMALL

# What fails: the rank, the object and its attribute, and the error.
FAILURES = {
    "rank 0 in a step": (0, Learner, "step", ValueError),
    "rank 1 in a step": (1, Learner, "step", ValueError),
    "rank 0 before the others": (0, train, "open_log", ValueError),
    "rank 0 while it saves": (0, checkpoint, "save", OSError),
    "rank 1 before it joins": (1, train, "parse", RunError),
    "rank 1 is interrupted": (1, Learner, "step", KeyboardInterrupt),
}
LIMIT = 100  # seconds


def plant(kind: str, rank: int, directory: Path) -> None:
    """Lets this process fail if it is the one of `kind`; the moment is written to a file."""
    who, owner, attribute, error = FAILURES[kind]

    def fail(*_, **__):
        (directory / "when").write_text(str(time.time()))
        raise error("planted")

    if rank == who:
        setattr(owner, attribute, fail)


def run_rank(kind: str, rank: int, port: int, directory: Path) -> int:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    with open(directory / f"{rank}.txt", "w") as file:
        os.dup2(file.fileno(), 2)
    plant(kind, rank, directory)
    try:
        return train.main([*SMALL, "--out", str(directory / "out")])
    except SystemExit as end:
        return end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(directory: Path) -> None:
    children, ports = {}, {}
    for kind in FAILURES:
        place = directory / kind
        place.mkdir()
        ports[kind] = free_port()
        for rank in range(2):
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                code = run_rank(kind, rank, ports[kind], place)
                sys.stderr.flush()
                os._exit(code)
            children[child] = kind
    # Only now, because a store has threads, which a fork would not take along.
    wait = timedelta(seconds=LIMIT)
    stores = [dist.TCPStore("127.0.0.1", port, 2, True, wait, False) for port in ports.values()]
    codes, ends = {kind: [] for kind in FAILURES}, {}
    while children:
        child, status = os.wait()
        kind = children.pop(child)
        codes[kind].append(os.waitstatus_to_exitcode(status))
        ends[kind] = time.time()
    del stores
    for kind in FAILURES:
        result = {"codes": codes[kind], "end": ends[kind]}
        (directory / kind / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
