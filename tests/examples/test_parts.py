"""The parts of the training example: networks, checkpoints, metrics and pictures."""

import json
import os
import queue
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import torchconv
from examples import RunError, options
from examples.models import MODELS, first_filters
from examples.training import checkpoint, metrics

ROOT = Path(__file__).parents[2]
CHANNELS = {"lenet": 1, "alexnet": 3, "alexnet-cifar": 3}
PARAMETERS = {"lenet": 61_706, "alexnet": 61_100_840, "alexnet-cifar": 23_272_266}


def build(name, conv):
    torch.manual_seed(0)
    return MODELS[name](conv).eval()


@pytest.mark.parametrize("name", MODELS)
def test_networks_are_the_same_with_either_convolution(name):
    theirs, ours = build(name, nn.Conv2d), build(name, torchconv.Conv2d)
    assert sum(p.numel() for p in ours.parameters()) == PARAMETERS[name]
    state = ours.state_dict()
    assert list(state) == list(theirs.state_dict())
    assert all(torch.equal(state[key], value) for key, value in theirs.state_dict().items())
    convs = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    assert convs and all(type(m) is torchconv.Conv2d for m in convs)
    x = torch.rand(2, CHANNELS[name], ours.image_size, ours.image_size)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x))


def test_alexnet_is_that_of_torchvision():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs, ours = torchvision.models.alexnet(), MODELS["alexnet"]()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_first_filters():
    model = build("lenet", torchconv.Conv2d)
    assert torch.equal(first_filters(model), model.features[0].weight)


STATE = {"epoch": 3, "weights": torch.arange(1000.0)}


def test_checkpoint_comes_back(tmp_path):
    checkpoint.save(tmp_path / "c.pt", STATE)
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert loaded["epoch"] == 3 and torch.equal(loaded["weights"], STATE["weights"])
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def break_off(state, file):
    """Stands for torch.save on a disk that fails half way."""
    file.write(b"half of a checkpoint")
    raise OSError(28, "No space left on device")


def test_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c.pt", STATE)
    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(RunError, match=r"c.pt could not be written .*No space left"):
        checkpoint.save(tmp_path / "c.pt", {"epoch": 4})
    assert checkpoint.load(tmp_path / "c.pt")["epoch"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_full_disk_keeps_the_old_checkpoint(tmp_path):
    resource = pytest.importorskip("resource")
    checkpoint.save(tmp_path / "c.pt", STATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError, match="File too large"):
            checkpoint.save(tmp_path / "c.pt", {"epoch": 4, "weights": torch.zeros(10**6)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load(tmp_path / "c.pt")["epoch"] == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_writing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c.pt", STATE)

    def die(state, file):
        file.write(b"half of a checkpoint")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        torch.save = die
        checkpoint.save(tmp_path / "c.pt", {"epoch": 4})
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert checkpoint.load(tmp_path / "c.pt")["epoch"] == 3
    checkpoint.save(tmp_path / "c.pt", {"epoch": 5})  # what the dead process left is no obstacle
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"\x80\x02K\x01."])
def test_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        checkpoint.load(tmp_path / "c.pt")


def test_truncated_checkpoint_is_refused(tmp_path):
    checkpoint.save(tmp_path / "c.pt", STATE)
    content = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "c.pt").write_bytes(content[:-100])
    with pytest.raises(RunError, match="damaged"):
        checkpoint.load(tmp_path / "c.pt")


def test_other_file_of_torch_is_no_checkpoint(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "c.pt")
    with pytest.raises(RunError, match="is not a checkpoint"):
        checkpoint.load(tmp_path / "c.pt")


def record(kind, conv, epoch, step, **measured):
    return {"kind": kind, "conv": conv, "epoch": epoch, "step": step, **measured}


def test_metrics_are_json_lines_and_shown_in_tensorboard(tmp_path):
    log = metrics.MetricsLog(tmp_path, 0, 0)
    written = [record("step", "torch", 1, i, loss=1 / i, seconds=0.5) for i in (1, 2, 3)]
    for r in written:
        log.write(r)
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == written
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("step/loss/torch")
    assert [s.step for s in scalars] == [1, 2, 3]
    assert [s.value for s in scalars] == pytest.approx([1, 1 / 2, 1 / 3])


def test_log_closes_soon_although_its_thread_was_not_told(tmp_path, monkeypatch):
    """As after Ctrl-C in the middle of `Condition.notify`; it used to take two minutes."""
    log = metrics.MetricsLog(tmp_path, 0, 0)
    time.sleep(0.2)  # the thread waits for work now

    def without_notice(items, item, *_):
        with items.mutex:
            items._put(item)
            items.unfinished_tasks += 1

    monkeypatch.setattr(queue.Queue, "put", without_notice)
    start = time.monotonic()
    log.close()
    assert time.monotonic() - start < 20


def test_resumed_metrics_continue_after_the_checkpoint(tmp_path):
    kept = [record("epoch", "torch", 1, 10, loss=1.0), record("step", "torch", 1, 10, loss=2.0)]
    late = record("step", "torch", 2, 11, loss=3.0)
    lines = "".join(json.dumps(r) + "\n" for r in (*kept, late))
    (tmp_path / "metrics.jsonl").write_text(lines + '{"kind": "step", "conv')  # a crash
    log = metrics.MetricsLog(tmp_path, last_epoch=1, last_step=10)
    log.write(late)
    log.close()
    assert metrics.read_records(tmp_path / "metrics.jsonl") == [*kept, late]


def test_comparison_of_two_runs():
    seconds = {"torch": [4.0, 9.0, 2.0, 8.0], "torchconv": [2.0, 1.0, 2.0, 1.0]}
    losses = {"torch": [1.0, 0.5, 0.25, 1.0], "torchconv": [1.0, 0.75, 0.125, 1.0]}
    records = [
        record("step", conv, i // 2 + 1, i + 1, loss=losses[conv][i], seconds=seconds[conv][i])
        for i in range(4)
        for conv in seconds
    ]
    assert metrics.difference(records) == 0.25
    assert metrics.speed(records) is None, "nothing says who has computed"
    ours, theirs = ({"torchconv": n, "PyTorch": {"why": 2 - n}} for n in (1, 0))
    ends = [record("epoch", "torchconv", epoch, 2 * epoch, computed=ours) for epoch in (1, 2)]
    assert metrics.speed([*records, *ends]) == (5.0, 4)
    ends[1]["computed"] = theirs
    assert metrics.speed([*records, *ends]) == (5.5, 2)
    ends[0]["computed"] = theirs
    assert metrics.speed([*records, *ends]) is None


def test_code_in_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pictures are written there
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    exec("\n".join(blocks), {})  # its asserts hold


def test_options_in_the_readme_exist(tmp_path, monkeypatch):
    commands = re.findall(r"-m examples\.train ([^#\n]+)", (ROOT / "README.md").read_text())
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/mnist-5k-lenet-torchconv"
    run.mkdir(parents=True)
    (run / "options.yaml").write_text("seed: 1\n")
    for command in commands:
        if "--help" not in command:
            options.parse(command.split())
