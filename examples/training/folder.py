"""The directory of a run, in which nothing is deleted but what a run has written.

A run first writes `run.json`, which names the files that it may write after it. A directory that
holds something and has no such file belongs to somebody else and is refused.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from examples import RunError
from examples.training import checkpoint

MARKER = "run.json"
CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
METRICS = "metrics.jsonl"
PREDICTIONS = "predictions.csv"
OPTIONS = "options.yaml"
PICTURES = ("curves.png", "filters.png", "confusion.png", "wrong.png")
BOARD = "tensorboard"
BOARD_SUFFIX = ".run"  # of the names that TensorBoard's writer makes up
RESULTS = (CHECKPOINT, BEST, PREDICTIONS, *PICTURES)
WRITTEN = (*RESULTS, METRICS, OPTIONS, f"{BOARD}/events.out.tfevents.*{BOARD_SUFFIX}")
# What runs wrote before there was a marker.
UNMARKED = (CHECKPOINT, METRICS, "curves.png", "filters.png", f"{BOARD}/events.out.tfevents.*")

_PROGRAM = "examples.train"


def check(out: Path, overwrite: bool) -> None:
    """Raises RunError unless a new run may be put into `out`."""
    if not out.is_dir():
        return
    names = _names(out)
    if names is None:
        if any(path.name != _temporary(MARKER) for path in out.iterdir()):
            raise RunError(
                f"{out} holds files that no run of this program wrote; choose a new or an empty "
                "directory with --out."
            )
    elif not overwrite and any(map(_is_result, _files(out, names))):
        resume = "continue it with --resume, " if (out / CHECKPOINT).exists() else ""
        raise RunError(
            f"{out} already holds a run; {resume}replace it with --overwrite, or choose another "
            "--out."
        )


def prepare(out: Path, overwrite: bool) -> None:
    """Makes the directory of a new run; deletes what the run before it has written there."""
    out.mkdir(parents=True, exist_ok=True)
    check(out, overwrite)
    before = _names(out) or ()
    mark(out, before)  # first, so that whatever is left after a crash is known as ours
    for path in _files(out, before):
        path.unlink()
    if (out / BOARD).is_dir() and not any((out / BOARD).iterdir()):
        (out / BOARD).rmdir()


def mark(out: Path, before: Iterable[str] = UNMARKED) -> None:
    """Writes the marker, which names the files of this program and those of `before`."""
    content = {"written_by": _PROGRAM, "files": list(dict.fromkeys((*WRITTEN, *before)))}
    with checkpoint.atomic_file(out / MARKER) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def adopt(out: Path) -> None:
    """Gives a run that is continued the marker, which runs did not write at first.

    It is written anew also where there is one, which may name fewer files than there are today.
    """
    names = _names(out)
    if names is not None or not (out / MARKER).exists():
        mark(out, names or UNMARKED)


def claim(base: Path) -> Path:
    """Makes a new directory and returns it: `base`, or the first free of `base`-2, -3, ..."""
    base.parent.mkdir(parents=True, exist_ok=True)
    out, number = base, 1
    while True:
        try:
            out.mkdir()  # of several runs that start at once, one gets it
            return out
        except FileExistsError:
            number += 1
            out = base.with_name(f"{base.name}-{number}")


def newest(base: Path) -> Path:
    """The directory with the highest number that holds a checkpoint; `base` where none does."""
    numbered = re.compile(re.escape(base.name) + r"(?:-(\d+))?")
    found = {
        int(match[1] or 1): path.parent
        for path in base.parent.glob(f"*/{CHECKPOINT}")
        if (match := numbered.fullmatch(path.parent.name))
    }
    return found[max(found)] if found else base


def _names(out: Path) -> list[str] | tuple[str, ...] | None:
    """The patterns of the files that runs wrote into `out`; None if no run did."""
    try:
        content = json.loads((out / MARKER).read_text())
        if content["written_by"] == _PROGRAM and all(map(_stays_inside, content["files"])):
            return content["files"]
        return None
    except FileNotFoundError:
        return UNMARKED if _is_unmarked_run(out) else None
    except (ValueError, TypeError, KeyError):  # a file of another program
        return None


def _is_unmarked_run(out: Path) -> bool:
    try:
        return "learners" in checkpoint.load(out / CHECKPOINT)
    except RunError:
        return False


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "**" not in path.parts


def _files(out: Path, names: Iterable[str]) -> Iterator[Path]:
    """The files that match, with those that a process killed while writing has left."""
    for name in names:
        for pattern in (name, str(PurePosixPath(name).with_name(_temporary(Path(name).name)))):
            yield from filter(Path.is_file, sorted(out.glob(pattern)))


def _is_result(path: Path) -> bool:
    """Whether a file is worth keeping; before its first checkpoint a run has written no result."""
    if path.name == METRICS:
        return path.stat().st_size > 0
    return path.name in RESULTS


def _temporary(name: str) -> str:
    return checkpoint.temporary(Path(name)).name
