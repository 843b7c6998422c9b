"""What is told before training, and the filters in TensorBoard."""

import re

import pytest
import torch
from torch import nn

import torchconv
from examples.models import LeNet
from examples.training import metrics, summary
from tests.examples.training import no_pictures, start, tiny  # noqa: F401

# Positions x filters x weights of a filter, layer by layer.
LENET = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10


@pytest.mark.parametrize("conv", [nn.Conv2d, torchconv.Conv2d])
def test_operations_of_lenet(conv):
    model = LeNet(conv)
    assert summary.parameters(model) == 61_706
    assert summary.macs(model, torch.zeros(1, 28, 28)) == LENET


def test_measuring_changes_nothing():
    model = nn.Sequential(torchconv.Conv2d(1, 2, 3), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3))
    images = torch.rand(4, 1, 8, 8)
    model(images)
    model.eval()
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    assert 0 < summary.seconds_per_step(model, images) < 60
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    assert not model.training and all(p.grad is None for p in model.parameters())


def test_summary_of_a_run(tmp_path, capsys):
    assert start(tmp_path, "--conv", "both", "--epochs", "1") == 0
    line = capsys.readouterr().out.splitlines()[1]
    numbers = 4 * 9 + 4, 4 * 13 * 13 * 10 + 10, 13 * 13 * 4 * 9
    told = f"{numbers[0] + numbers[1]:,} parameters, {numbers[2] + 6760:,} multiply-adds"
    assert told in line
    assert re.search(r"32 images takes [\d.]+ ms with nn\.Conv2d, [\d.]+ ms with torchconv", line)
    assert line.endswith("an epoch has 3 steps")


def test_batches_per_second():
    records = [
        {"kind": "step", "conv": conv, "epoch": epoch, "step": epoch, "loss": 1.0, "seconds": s}
        for epoch, pair in ((1, (0.5, 0.25)), (2, (0.1, 0.05)), (3, (9.0, 9.0)))
        for conv, s in zip(("torch", "torchconv"), pair, strict=True)
    ]
    ends = [
        {"kind": "epoch", "conv": "torchconv", "epoch": e, "computed": {"torchconv": e < 3}}
        for e in (1, 2, 3)  # of the third epoch PyTorch computed all
    ]
    assert metrics.rates([*records, *ends]) == pytest.approx((1 / 0.3, 1 / 0.15))


def test_filters_are_shown_in_tensorboard(tmp_path):
    assert start(tmp_path, "--epochs", "2") == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    images = events.Images("filters/torchconv")
    assert [image.step for image in images] == [3, 6]
    # Four filters of 3 x 3, each weight a square of 8 pixels, with 2 pixels between.
    assert (images[0].width, images[0].height) == (4 * 26 + 2, 26 + 2)
    assert images[0].encoded_image_string != images[1].encoded_image_string
