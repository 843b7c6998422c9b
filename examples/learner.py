"""A model with what it needs to learn: optimizer, schedule and metrics."""

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from examples import RunError
from examples.processes import Processes

OPTIMIZERS = {
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr),
    "sgd": lambda parameters, lr: torch.optim.SGD(
        parameters, lr=lr, momentum=0.9, weight_decay=5e-4
    ),
}


class Learner:
    """Trains one model; `conv` names its convolution in the records.

    The learning rate falls by the factor `lr_decay` after every epoch. The schedule does not depend
    on how many epochs are asked for, so a run can be continued to any number of them.
    """

    def __init__(
        self,
        conv: str,
        model: nn.Module,
        classes: int,
        processes: Processes,
        *,
        optimizer: str,
        lr: float,
        lr_decay: float,
        amp: bool,
    ):
        self.conv = conv
        self.model = model
        self.processes = processes
        self.amp = amp
        self.optimizer = OPTIMIZERS[optimizer](model.parameters(), lr)
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, lr_decay)
        self._parallel = processes.parallel(model)
        self._accuracy = MulticlassAccuracy(classes, average="micro").to(processes.device)
        self._loss = MeanMetric().to(processes.device)

    def step(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """One optimizer step on a batch; returns its loss and the seconds it took."""
        self.model.train()
        start = self._now()
        self.optimizer.zero_grad()
        logits = self._logits(self._parallel, images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        seconds = self._now() - start
        value = self._finite(self.processes.mean(loss.detach()))
        self._accuracy.update(logits.detach(), labels)
        self._loss.update(loss.detach(), weight=len(labels))
        return {"loss": value, "seconds": seconds}

    def finish_epoch(self, test_batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Takes the averages over the epoch, tests the model and lowers the learning rate."""
        train = self._take_averages("train")
        self.model.eval()
        with torch.inference_mode():
            for images, labels in test_batches:
                logits = self._logits(self.model, images)
                self._accuracy.update(logits, labels)
                self._loss.update(F.cross_entropy(logits, labels), weight=len(labels))
        lr = self.scheduler.get_last_lr()[0]
        self.scheduler.step()
        return {**train, **self._take_averages("test"), "lr": lr}

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts():
            part.load_state_dict(state[name])

    def _parts(self) -> list[tuple[str, Any]]:
        names = ("model", "optimizer", "scheduler")
        return [(name, getattr(self, name)) for name in names]

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
            lr = self.scheduler.get_last_lr()[0]
            raise RunError(f"The loss has become {value}; try a smaller --lr than {lr:g}.")
        return value

    def _now(self) -> float:
        if self.processes.device.type != "cpu":
            torch.accelerator.synchronize(self.processes.device)
        return time.perf_counter()
