"""How a run ends: its predictions, its pictures, and what it says about them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from examples import predictions
from examples.images.data import DATA
from examples.models import first_filters
from examples.predictions import Predictions, in_text, pixels
from examples.training import folder, metrics
from examples.training.checkpoint import atomic_file
from examples.training.learner import NAMES
from examples.training.metrics import read_records
from examples.training.run import Run

SAMPLES = 4
MOST_WRONG = 24  # in the picture


def report(run: Run) -> None:
    """Writes the predictions, draws the pictures and says how the run ended."""
    out: Path = run.options.out
    records = read_records(out / folder.METRICS)
    learner = run.learners[-1]
    said = predictions.predict(
        learner.result, run.test_set, run.processes.device, amp=run.options.amp
    )
    predictions.write(out / folder.PREDICTIONS, said, run.classes)
    draw(run, said)
    show_samples(run, said)
    if len(run.learners) == 2:
        print(compare(records))
    if run.epoch < run.options.epochs:
        print(
            f"Stopped early: the test accuracy was best after epoch {run.best_epoch} "
            f"({run.best_accuracy:.2%}; {out / folder.BEST}) and has not risen for "
            f"{run.options.patience} epochs."
        )
    last = {r["conv"]: r["test_accuracy"] for r in records if r["kind"] == "epoch"}
    accuracy = ", ".join(f"{NAMES[conv]} {value:.2%}" for conv, value in last.items())
    names = ", ".join((*folder.PICTURES, folder.PREDICTIONS, folder.METRICS))
    print(
        f"Test accuracy {accuracy} ({len(said.wrong())} of {len(said.labels)} images wrong) "
        f"after {run.epoch} epochs, {run.seconds:.1f} s; see {out}/ ({names})"
    )


def draw(run: Run, said: Predictions) -> None:
    """Draws every picture of `folder.PICTURES`; says so where that needs what is not installed."""
    out: Path = run.options.out
    try:
        from torchconv import visualize
    except ImportError as error:
        print(f"The pictures could not be drawn: {error}.")
        return
    pictures: dict[str, Callable[[], Figure]] = {
        "curves.png": lambda: visualize.curves(out),
        "filters.png": lambda: visualize.filters(first_filters(run.learners[-1].result)),
        "confusion.png": lambda: visualize.confusion(out),
        "wrong.png": lambda: wrong(run, said),
    }
    for name in folder.PICTURES:
        figure = pictures[name]()
        with atomic_file(out / name) as file:
            figure.savefig(file, format="png", dpi=120)


def wrong(run: Run, said: Predictions) -> Figure:
    """The test images that were taken for something else, those first that were so most surely."""
    places = said.wrong().tolist()
    shown = places[:MOST_WRONG]
    longest = max(map(len, run.classes))
    width = max(1.25, 0.075 * longest + 0.2)  # inches, so that names do not overlap
    columns = min(int(10 / width), max(4, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(width * columns, 1.75 * rows + 0.5), layout="constrained")
    title = f"{len(places)} of {len(said.labels)} predictions are wrong"
    if len(places) > len(shown):
        title += f"; the {len(shown)} surest of them"
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, place in zip(axes, shown, strict=False):
        image = pixels(run.test_set[place][0], DATA[run.options.data]).permute(1, 2, 0)
        axis.imshow(image.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        label, predicted = (run.classes[int(c[place])] for c in (said.labels, said.predicted))
        words = (label, "taken for", predicted)
        taken = (" " if longest < 4 else "\n").join(words)
        axis.set_title(f"{taken}\n{said.probability[place]:.0%} sure", fontsize=8)
    return figure


def show_samples(run: Run, said: Predictions) -> None:
    """Prints some test images and what the network says: the surest mistake, and others."""
    count = len(said.labels)
    places = [i * count // SAMPLES for i in range(min(SAMPLES, count))]
    if len(mistakes := said.wrong()):
        places[-1] = int(mistakes[0])
    captions = []
    for place in places:
        predicted, label = (run.classes[int(c[place])] for c in (said.predicted, said.labels))
        caption = f"{predicted}, {said.probability[place]:.0%} sure"
        captions.append(caption if predicted == label else f"{predicted}: wrong, a {label}")
    images = [pixels(run.test_set[i][0], DATA[run.options.data]) for i in places]
    print("\n".join(["", *in_text(images, captions), ""]))


def compare(records: list[dict[str, Any]]) -> str:
    """How fast torchconv was beside nn.Conv2d, where that can be told, and how exact."""
    speed = metrics.speed(records)
    difference = f"their losses differ by at most {metrics.difference(records):.2g}."
    if speed is None:
        return (
            "How fast torchconv.Conv2d is beside nn.Conv2d was not measured, because PyTorch "
            f"computed both; {difference}"
        )
    ratio, steps = speed
    theirs, ours = metrics.rates(records)
    return (
        f"A training step with torchconv.Conv2d is {ratio:.2f}x as fast as with nn.Conv2d: "
        f"{ours:.0f} batches per second, not {theirs:.0f} (median of {steps} interleaved steps); "
        f"{difference}"
    )
