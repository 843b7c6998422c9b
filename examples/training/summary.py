"""What a network costs, told before it is trained: parameters, operations and time."""

import copy
import time

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

STEPS, ENOUGH = 5, 0.5  # steps that are timed, and seconds after which no other one is


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, image: Tensor) -> int:
    """Multiplications with an addition for one image [c, h, w], of convolutions and dense layers.

    >>> macs(nn.Conv2d(1, 6, 5), torch.zeros(1, 28, 28)) == 24 * 24 * 6 * 5 * 5
    True
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(image[None])
    return counter.get_total_flops() // 2


def seconds_per_step(model: nn.Module, images: Tensor, amp: bool = False) -> float:
    """The shortest time of a few passes forward and back, of a copy: `model` stays as it is."""
    device = images.device
    devices = [] if device.type == "cpu" else [device]
    times: list[float] = []
    with torch.random.fork_rng(devices, device_type=device.type):
        model = copy.deepcopy(model).train()
        while len(times) <= STEPS and sum(times) < ENOUGH:
            start = _now(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                logits = model(images).float()
            logits.logsumexp(1).sum().backward()
            times.append(_now(device) - start)
    return min(times)


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def describe(
    models: dict[str, nn.Module], images: Tensor, steps_per_epoch: int, amp: bool = False
) -> str:
    """A line on `models`, which differ in their convolution only, and a batch of `images`."""
    first = next(iter(models.values()))
    times = {name: seconds_per_step(model, images, amp) for name, model in models.items()}
    steps = ", ".join(f"{1000 * t:.1f} ms with {name}" for name, t in times.items())
    return (
        f"{parameters(first):,} parameters, {macs(first.eval(), images[0]):,} multiply-adds for an "
        f"image; a step forward and back with {len(images)} images takes {steps}, "
        f"an epoch has {steps_per_epoch:,} steps"
    )
