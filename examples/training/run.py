"""A training run: the learners, their batches, and everything needed to continue exactly."""

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from examples import RunError
from examples import options as run_options
from examples.images.data import DATA, batches, class_names, load
from examples.models import MODELS, first_filters
from examples.training import checkpoint, computed, summary
from examples.training.learner import NAMES, Learner
from examples.training.metrics import MetricsLog
from examples.training.processes import Processes


class Run:
    """Everything a run consists of; `state_dict` is all that a later process needs to continue."""

    def __init__(self, options: argparse.Namespace, processes: Processes):
        if options.batch_size % processes.size:
            raise RunError(
                f"--batch-size {options.batch_size} cannot be shared by {processes.size} processes."
            )
        self.options, self.processes = options, processes
        self.epoch = self.step = 0
        self.seconds = 0.0
        self.best_accuracy, self.best_epoch = -1.0, 0
        self.generator = torch.Generator().manual_seed(options.seed)
        self.train_batches, self.test_batches = self._load_data()
        seed_everything(options.seed)
        self.learners = make_learners(options, processes, len(self.train_batches))
        seed_everything(options.seed + processes.rank)

    def _load_data(self) -> list[DataLoader]:
        options, processes = self.options, self.processes

        def load_data():
            return load(
                options.data,
                options.data_dir,
                image_size=MODELS[options.model].image_size,
                augment=options.augment,
                download=options.download,
            )

        parts = processes.once(load_data) or load_data()  # the first process alone downloads
        self.classes = class_names(options.data, parts[1])
        if options.limit:
            parts = [Subset(part, range(min(options.limit, len(part)))) for part in parts]
        self.sizes = [len(part) for part in parts]
        self.test_set = parts[1]
        return [
            batches(
                part,
                options.batch_size,
                processes,
                train=train,
                seed=options.seed,
                workers=options.workers,
                generator=self.generator,
            )
            for part, train in zip(parts, (True, False), strict=True)
        ]

    def summary(self) -> str:
        """What the networks cost; nothing of the run changes, its random numbers included."""
        images = torch.stack(
            [self.test_set[0][0]] * (self.options.batch_size // self.processes.size)
        )
        ((images, _),) = self._move([(images, torch.zeros(0))])
        models = {NAMES[learner.conv]: learner.model for learner in self.learners}
        steps = len(self.train_batches)
        return summary.describe(models, images, steps, self.options.amp)

    def train_epoch(self, log: MetricsLog | None) -> list[dict[str, Any]]:
        """Trains and tests for one epoch; returns one record per learner."""
        start = time.perf_counter()
        self.epoch += 1
        self.train_batches.sampler.set_epoch(self.epoch)
        bar = tqdm(
            self.train_batches,
            f"epoch {self.epoch}/{self.options.epochs}",
            disable=None if self.processes.first else True,
            leave=False,
        )
        shares: dict[str, computed.Shares] = {}
        for images, labels in self._move(bar):
            self.step += 1
            # In turns, so that neither learner always runs first.
            order = self.learners[::-1] if self.step % 2 else self.learners
            measured = {}
            for learner in order:
                with (
                    self._watch(learner, shares),
                    nullcontext() if learner is order[-1] else self._same_dropout(),
                ):
                    measured[learner.conv] = learner.step(images, labels)
            for learner in self.learners:
                self._record(log, "step", learner, measured[learner.conv])
        records = []
        for learner in self.learners:
            results = learner.finish_epoch(self._move(self.test_batches))
            if learner.conv in shares:
                results["computed"] = shares[learner.conv]
            records.append(self._record(log, "epoch", learner, results))
            if log:
                log.show_filters(learner.conv, first_filters(learner.result), self.step)
        self.seconds += time.perf_counter() - start
        accuracy = sum(record["test_accuracy"] for record in records) / len(records)
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best_epoch = accuracy, self.epoch
        return records

    @property
    def over(self) -> bool:
        """Whether all epochs are trained, or --patience is at its end."""
        patience = self.options.patience or self.options.epochs
        return self.epoch >= self.options.epochs or self.epoch - self.best_epoch >= patience

    def _watch(self, learner: Learner, shares: dict[str, computed.Shares]):
        """Finds out in the first step of an epoch who computes the convolutions of torchconv."""
        if learner.conv == "torch" or learner.conv in shares:
            return nullcontext()
        shares[learner.conv] = {}
        return computed.watch(learner.model, shares[learner.conv])

    def _same_dropout(self):
        """Hands the random numbers drawn inside to the next learner once more."""
        device = self.processes.device
        devices = [] if device.type == "cpu" else [device]  # the CPU's are always among them
        return torch.random.fork_rng(devices, device_type=device.type)

    def _move(self, loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
        memory_format = (
            torch.channels_last if self.options.channels_last else torch.contiguous_format
        )
        for images, labels in loader:
            images = images.to(self.processes.device, memory_format=memory_format)
            yield images, labels.to(self.processes.device)

    def _record(
        self, log: MetricsLog | None, kind: str, learner: Learner, measured: dict[str, Any]
    ) -> dict[str, Any]:
        where = {"kind": kind, "conv": learner.conv, "epoch": self.epoch, "step": self.step}
        record = {**where, **measured}
        if log:
            log.write(record)
        return record

    def state_dict(self) -> dict[str, Any]:
        return {
            "options": run_options.to_save(self.options),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "best": (self.best_accuracy, self.best_epoch),
            "classes": self.classes,
            "learners": {learner.conv: learner.state_dict() for learner in self.learners},
            "loader": self.generator.get_state(),
            "random": self.processes.gather(checkpoint.random_states(self.processes.device)),
        }

    def best_state(self) -> dict[str, Any]:
        """What is needed to use the networks, not to go on with them."""
        return {
            "options": run_options.to_save(self.options),
            "epoch": self.epoch,
            "classes": self.classes,
            "learners": {lr.conv: {"model": lr.result.state_dict()} for lr in self.learners},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if len(state["random"]) != self.processes.size:
            raise RunError(
                f"The run was started with {len(state['random'])} processes and cannot continue "
                f"exactly with {self.processes.size}."
            )
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.best_accuracy, self.best_epoch = state["best"]
        for learner in self.learners:
            learner.load_state_dict(state["learners"][learner.conv])
        self.generator.set_state(state["loader"])
        mine = state["random"][self.processes.rank]
        checkpoint.set_random_states(mine, self.processes.device)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def conv_class(name: str) -> type[nn.Conv2d]:
    if name == "torch":
        return nn.Conv2d
    try:
        import torchconv
    except ImportError as error:
        raise RunError(
            f"torchconv cannot be imported ({error}); install it from the checkout with "
            "'pip install --no-build-isolation -e .', or train with --conv torch."
        ) from error
    return torchconv.Conv2d


def make_learners(
    options: argparse.Namespace, processes: Processes, steps_per_epoch: int
) -> list[Learner]:
    info = DATA[options.data]
    convs = ("torch", "torchconv") if options.conv == "both" else (options.conv,)
    learners = []
    for name in convs:
        model = MODELS[options.model](conv_class(name), info.channels, info.classes)
        if learners:
            model.load_state_dict(learners[0].model.state_dict())
        if options.channels_last:
            model = model.to(memory_format=torch.channels_last)
        model = model.to(processes.device)
        learner = Learner(name, model, info.classes, processes, options, steps_per_epoch)
        learners.append(learner)
    return learners
