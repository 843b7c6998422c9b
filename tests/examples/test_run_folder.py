"""The directory of a run: what is deleted in it, what is refused, and how a new one is named."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from examples import RunError, options, train
from examples.training import checkpoint, folder, metrics
from tests.examples.training import no_pictures  # noqa: F401

QUICK = [
    "--data",
    "digits",
    "--schedule",
    "constant",
    "--limit",
    "32",
    "--epochs",
    "1",
    "--device",
    "cpu",
]
PICTURES = ["confusion.png", "curves.png", "filters.png", "wrong.png"]
FILES = ["best.pt", "checkpoint.pt", "metrics.jsonl", "options.yaml", "predictions.csv", "run.json"]
RUN = sorted([*FILES, *PICTURES, "tensorboard"])


def start(*arguments):
    return train.main([*QUICK, *map(str, arguments)])


def put(directory, *names):
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name} of the user")


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


FOREIGN = {
    "notes": ["notes.txt"],
    "hidden": [".git/HEAD"],
    "names that a run uses": ["curves.png", "metrics.jsonl", "tensorboard/events.out.tfevents.1"],
    "a checkpoint of something else": ["checkpoint.pt", "filters.png"],
    "a run.json of something else": ["run.json", "curves.png"],
}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["", "overwrite"])
@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_directory_is_refused(tmp_path, monkeypatch, capsys, case, overwrite):
    put(tmp_path, *FOREIGN[case])
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert start("--out", ".", *overwrite) == 1
    message = capsys.readouterr().err
    assert "no run of this program wrote" in message and "with --out" in message
    assert message.count("\n") == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "marker",
    [
        {"written_by": "something else", "files": ["curves.png"]},
        {"written_by": "examples.train", "files": ["../curves.png"]},
        {"written_by": "examples.train", "files": ["/etc/passwd"]},
        {"written_by": "examples.train", "files": ["**"]},
        {"written_by": "examples.train"},
        ["curves.png"],
        7,
    ],
)
def test_marker_of_another_program_is_foreign(tmp_path, marker):
    put(tmp_path, "curves.png", "out/curves.png")
    (tmp_path / "out" / folder.MARKER).write_text(json.dumps(marker))
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(RunError, match="no run of this program wrote"):
            folder.prepare(tmp_path / "out", overwrite)
    assert contents(tmp_path) == before


def test_only_files_of_the_run_are_replaced(tmp_path):
    assert start("--out", tmp_path) == 0
    assert sorted(os.listdir(tmp_path)) == RUN
    first = contents(tmp_path)
    mine = ["notes.txt", "tensorboard/events.out.tfevents.mine", "old/checkpoint.pt"]
    put(tmp_path, *mine, ".curves.png.tmp")
    assert start("--out", tmp_path, "--overwrite", "--seed", "1") == 0
    for name in mine:
        assert (tmp_path / name).read_text() == f"{name} of the user"
    assert not (tmp_path / ".curves.png.tmp").exists(), "what a killed run has left"
    events = [path for path in first if path.parent.name == "tensorboard"]
    assert events and not any(path.exists() for path in events)
    second = contents(tmp_path)
    assert first[tmp_path / "checkpoint.pt"] != second[tmp_path / "checkpoint.pt"]


@pytest.mark.parametrize("kept", ["curves.png", "filters.png", "metrics.jsonl"])
def test_results_without_a_checkpoint_are_kept_too(tmp_path, capsys, kept):
    folder.prepare(tmp_path, overwrite=False)
    put(tmp_path, kept)
    assert start("--out", tmp_path) == 1
    message = capsys.readouterr().err
    assert "already holds a run; replace it with --overwrite, or choose another --out" in message
    assert (tmp_path / kept).read_text() == f"{kept} of the user"
    assert start("--out", tmp_path, "--overwrite") == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("moment", ["marker is half written", "marker is written", "log is open"])
def test_crash_before_the_first_checkpoint_locks_nobody_out(tmp_path, moment):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        if moment == "marker is half written":
            os.replace = die
        elif moment == "marker is written":
            folder._files = die
        folder.prepare(tmp_path, overwrite=False)
        metrics.MetricsLog(tmp_path, 0, 0)
        die()
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert os.listdir(tmp_path), "the child has written nothing"
    assert start("--out", tmp_path) == 0
    assert sorted(os.listdir(tmp_path)) == RUN
    assert len(os.listdir(tmp_path / "tensorboard")) == 1


@pytest.fixture
def unmarked(tmp_path):
    """A run as it was written before there was a marker, with a file of the user beside."""
    out = tmp_path / "unmarked"
    assert start("--out", out) == 0
    (out / folder.MARKER).unlink()
    for path in (out / "tensorboard").iterdir():
        path.rename(str(path).removesuffix(folder.BOARD_SUFFIX))
    put(out, "notes.txt")
    return out


def test_unmarked_run_is_guarded_and_can_be_replaced(unmarked, capsys):
    before = contents(unmarked)
    assert start("--out", unmarked) == 1
    assert "already holds a run; continue it with --resume" in capsys.readouterr().err
    assert contents(unmarked) == before
    assert start("--out", unmarked, "--overwrite", "--seed", "1") == 0
    assert sorted(os.listdir(unmarked)) == sorted([*RUN, "notes.txt"])
    assert len(os.listdir(unmarked / "tensorboard")) == 1
    assert (unmarked / "notes.txt").read_text() == "notes.txt of the user"


def test_unmarked_run_gets_its_marker_when_it_is_continued(unmarked):
    assert train.main(["--resume", "--out", str(unmarked), "--epochs", "2"]) == 0
    assert checkpoint.load(unmarked / "checkpoint.pt")["epoch"] == 2
    assert start("--out", unmarked, "--overwrite") == 0
    assert len(os.listdir(unmarked / "tensorboard")) == 1, "a log of the first run is left"


def test_every_run_gets_a_directory_of_its_own(tmp_path, monkeypatch, capsys):
    """As `make train` does it, which gives no --out."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "runs/digits-lenet-torchconv-x/checkpoint.pt")  # not a name of ours
    for name in ("digits-lenet-torchconv", "digits-lenet-torchconv-2", "digits-lenet-torchconv-3"):
        before = contents(tmp_path)
        assert start() == 0
        assert f"see runs/{name}/ (curves.png, " in capsys.readouterr().out.splitlines()[-1]
        assert sorted(os.listdir(tmp_path / "runs" / name)) == RUN
        assert before.items() <= contents(tmp_path).items(), "an earlier run has changed"
    third = tmp_path / "runs/digits-lenet-torchconv-3"
    before = contents(tmp_path)
    assert train.main(["--data", "digits", "--resume", "--epochs", "2"]) == 0  # the newest
    assert start("--overwrite", "--seed", "1") == 0
    changed = {path for path, content in contents(tmp_path).items() if before.get(path) != content}
    assert changed and all(path.is_relative_to(third) for path in changed)


def test_runs_that_start_at_once_do_not_share_a_directory(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(folder.claim, [tmp_path / "runs" / "a"] * 32))
    assert sorted(claimed) == sorted((tmp_path / "runs").iterdir())
    assert len(set(claimed)) == 32


def test_newest_run_is_found_by_number(tmp_path):
    put(tmp_path, *(f"{name}/checkpoint.pt" for name in ("a", "a-2", "a-10", "a-b", "aa-11")))
    (tmp_path / "a-11").mkdir()  # nothing to continue
    assert folder.newest(tmp_path / "a") == tmp_path / "a-10"
    assert folder.newest(tmp_path / "b") == tmp_path / "b"


@pytest.mark.parametrize("option", ["--out", "--data-dir"])
def test_home_is_found_where_no_shell_replaces_it(tmp_path, monkeypatch, option, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    parsed, _ = options.parse([f"{option}=~/some/where"])
    assert getattr(parsed, option[2:].replace("-", "_")) == tmp_path / "some" / "where"
    with pytest.raises(SystemExit):
        options.parse([f"{option}=~nobody-of-this-name/x"])
    assert "~nobody-of-this-name/x" in capsys.readouterr().err


def test_run_in_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert start("--out=~/mine") == 0
    assert sorted(os.listdir(tmp_path)) == ["mine"]
    assert torch.load(tmp_path / "mine/checkpoint.pt")["epoch"] == 1
