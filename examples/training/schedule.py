"""The learning rate over a run."""

import math
from collections.abc import Callable

import torch

SCHEDULES = ("cosine", "exponential", "constant")


def make(
    optimizer: torch.optim.Optimizer,
    schedule: str,
    *,
    steps_per_epoch: int,
    epochs: int,
    warmup: float,
    decay: float,
) -> torch.optim.lr_scheduler.LambdaLR:
    """Sets the rate of every step; `step()` is to be called after each of them.

    It rises evenly for `warmup` epochs. After that "cosine" lets it fall along half a wave that
    ends with the last epoch (Loshchilov and Hutter, 2017), and "exponential" multiplies it by
    `decay` after every epoch, counted from the first one.
    """
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, factor(schedule, steps_per_epoch, epochs, warmup, decay)
    )


def factor(
    schedule: str, steps_per_epoch: int, epochs: int, warmup: float, decay: float
) -> Callable[[int], float]:
    """What the learning rate is multiplied by in each step; the first step is number 0.

    >>> rate = factor("cosine", steps_per_epoch=10, epochs=3, warmup=1, decay=1)
    >>> [round(rate(step), 2) for step in (0, 4, 9, 10, 20, 29)]
    [0.1, 0.5, 1.0, 1.0, 0.5, 0.01]
    """
    rising = round(warmup * steps_per_epoch)
    falling = max(1, epochs * steps_per_epoch - rising)

    def of(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        if schedule == "cosine":
            return (1 + math.cos(math.pi * min(1.0, (step - rising) / falling))) / 2
        return decay ** (step // steps_per_epoch) if schedule == "exponential" else 1.0

    return of
