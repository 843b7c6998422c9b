"""The training program in processes of its own: several together, and one that gets a signal."""

import os
import re
import shlex
import signal
import time

import pytest
import torch

from examples import train
from examples.training import checkpoint
from tests.examples import forked
from tests.examples.training import SMALL, launch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks, and sends signals")
needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs torch.distributed"
)

ALL_KINDS = {
    "rank 0 in a step": (0, "examples.training.learner:Learner.step", ValueError("planted")),
    "rank 1 in a step": (1, "examples.training.learner:Learner.step", ValueError("planted")),
    "rank 0 before the others": (0, "examples.train.open_log", ValueError("planted")),
    "rank 0 while it saves": (0, "examples.training.checkpoint.save", OSError("planted")),
    "rank 1 before it joins": (1, "examples.train.parse", train.RunError("planted")),
    "rank 1 is interrupted": (1, "examples.training.learner:Learner.step", KeyboardInterrupt()),
}


def assert_one_says_why(errors, when, interrupted=False):
    # torchrun would kill a process that waits for the other one, after half a minute
    assert time.time() - float(when.read_text()) < 20, errors
    if interrupted:
        told = re.findall(r"^Stopped.*continue with:$", errors, re.MULTILINE)
    else:
        told = re.findall(r"^(?:examples\.train|\[rank\d\]: \w+Error): planted$", errors, re.M)
    assert len(told) == 1, errors
    assert "gloo" not in errors, "a process complains that another one is gone"


@needs_distributed
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_process_ends_soon_and_one_says_why(tmp_path, kind):
    rank, place, error = ALL_KINDS[kind]
    when, options = tmp_path / "when", [*SMALL, "--out", str(tmp_path / "out")]
    codes, _, errors = forked.several(
        tmp_path, 2, forked.with_plant, rank, place, error, when, options
    )
    assert all(codes), errors
    assert_one_says_why(errors, when, isinstance(error, KeyboardInterrupt))


@pytest.mark.slow
@needs_distributed
def test_torchrun_ends_and_one_says_why(tmp_path):
    """As above, but with all that torchrun itself does, and a first epoch that succeeds."""
    when = tmp_path / "when"
    plant = (
        "import pathlib, sys; from tests.examples import forked; "
        "sys.exit(forked.with_plant(0, 'examples.train.tell_who_computed', ValueError('planted'), "
        "pathlib.Path(sys.argv[1]), sys.argv[2:]))"
    )
    (tmp_path / "plant.py").write_text(plant)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(tmp_path / "plant.py"), str(when), *SMALL, "--out", str(tmp_path / "out")]
    with launch(*torchrun, *arguments) as process:
        out, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert len(re.findall(r"^epoch  1/4 .* test ", out, re.M)) == 1, out
    assert_one_says_why(errors, when)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_with_a_checkpoint(tmp_path, sent):
    out = tmp_path / "out"
    process = forked.program(tmp_path, *SMALL, "--epochs", "1000000", "--out", str(out))
    while "\nepoch" not in process.stdout:
        assert not process.ended, process.stderr
        time.sleep(0.05)
    process.send_signal(sent)
    assert process.wait(60) == 130
    assert "continue with" in process.stderr and "Traceback" not in process.stderr
    saved = checkpoint.load(out / "checkpoint.pt")["epoch"]
    assert saved >= 1
    command = shlex.split(process.stderr.splitlines()[-1])
    assert command[1:3] == ["-m", "examples.train"]
    again = forked.program(tmp_path, *command[3:], "--epochs", str(saved + 1))
    assert again.wait(60) == 0, again.stderr
    assert f"after {saved + 1} epochs" in again.stdout
