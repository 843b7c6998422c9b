"""A model with what it needs to learn: optimizer, schedule, moving average and metrics."""

import argparse
import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from examples import RunError
from examples.training import schedule
from examples.training.processes import Processes

NAMES = {"torch": "nn.Conv2d", "torchconv": "torchconv.Conv2d"}
OPTIMIZERS = {
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr),
    "sgd": lambda parameters, lr: torch.optim.SGD(
        parameters, lr=lr, momentum=0.9, weight_decay=5e-4
    ),
}


class Learner:
    """Trains one model; `conv` names its convolution in the records.

    With `options.ema` the model that is tested and used is the moving average of the weights.
    """

    def __init__(
        self,
        conv: str,
        model: nn.Module,
        classes: int,
        processes: Processes,
        options: argparse.Namespace,
        steps_per_epoch: int,
    ):
        self.conv, self.model, self.processes = conv, model, processes
        self.amp, self.clip = options.amp, options.clip_norm
        self.optimizer = OPTIMIZERS[options.optimizer](model.parameters(), options.lr)
        self.scheduler = schedule.make(
            self.optimizer,
            options.schedule,
            steps_per_epoch=steps_per_epoch,
            epochs=options.epochs,
            warmup=options.warmup,
            decay=options.lr_decay,
        )
        self.average = None
        if options.ema:
            average = get_ema_multi_avg_fn(options.ema)
            self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
        self._to_learn = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self._parallel = processes.parallel(model)
        self._accuracy = MulticlassAccuracy(classes, average="micro").to(processes.device)
        self._loss = MeanMetric().to(processes.device)

    @property
    def result(self) -> nn.Module:
        """The model that is tested, saved for use and drawn."""
        return self.average.module if self.average else self.model

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One optimizer step on a batch; returns its cross-entropy and the seconds it took.

        That is the one of the true labels also where smoothed ones are learned, so that it compares
        with the loss on the test images.
        """
        self.model.train()
        start = self._now()
        self.optimizer.zero_grad()
        logits = self._logits(self._parallel, images)
        self._to_learn(logits, labels).backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model)
        seconds = self._now() - start
        logits = logits.detach()
        loss = F.cross_entropy(logits, labels)
        value = self._finite(self.processes.mean(loss))
        self._accuracy.update(logits, labels)
        self._loss.update(loss, weight=len(labels))
        self._lr = self.scheduler.get_last_lr()[0]
        self.scheduler.step()
        return {"loss": value, "seconds": seconds}

    def finish_epoch(self, test_batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Takes the averages over the epoch and tests the model; the loss is the plain one."""
        train = self._take_averages("train")
        model = self.result.eval()
        with torch.inference_mode():
            for images, labels in test_batches:
                logits = self._logits(model, images)
                self._accuracy.update(logits, labels)
                self._loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        return {**train, **self._take_averages("test"), "lr": self._lr}

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts():
            part.load_state_dict(state[name])

    def _parts(self) -> list[tuple[str, Any]]:
        names = ("model", "optimizer", "scheduler", "average")
        return [(name, part) for name in names if (part := getattr(self, name))]

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.amp):
            return model(images).float()

    def _take_averages(self, prefix: str) -> dict[str, float]:
        """Averages over all processes since the last call."""
        averages = {
            f"{prefix}_loss": self._finite(self._loss.compute()),
            f"{prefix}_accuracy": self._accuracy.compute().item(),
        }
        self._loss.reset()
        self._accuracy.reset()
        return averages

    def _finite(self, loss: Tensor) -> float:
        value = loss.item()
        if not math.isfinite(value):
            lr = max(self.scheduler.base_lrs)
            raise RunError(f"The loss has become {value}; try a smaller --lr than {lr:g}.")
        return value

    def _now(self) -> float:
        if self.processes.device.type != "cpu":
            torch.accelerator.synchronize(self.processes.device)
        return time.perf_counter()
