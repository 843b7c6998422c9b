"""Layers in data parallel training on gloo: DDP, and FSDP2, which frees the weights in between."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchconv
from tests.compare import assert_near
from tests.examples import forked

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="forks"),
    pytest.mark.skipif(not dist.is_available(), reason="needs torch.distributed"),
]
SIZE = 2


class Block(nn.Module):
    """Its activations are computed again in the backward pass."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x):
        return checkpoint(lambda x: x + self.mix(self.conv(x).tanh()), x, use_reentrant=False)


def build():
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 8, 3, stride=2), Block(8), Block(8), nn.Flatten(), nn.Linear(8 * 49, 5)
    return nn.Sequential(*layers).double()


def batch():
    torch.manual_seed(2)
    return torch.randn(2 * SIZE, 3, 15, 15).double(), torch.randn(2 * SIZE, 5).double()


def train(model, images, wanted):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(images), wanted).backward()
        optimizer.step()


def parallel(kind, model):
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.fsdp import fully_shard

    mesh = dist.init_device_mesh("cpu", (SIZE,))
    for layer in model:
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def process(kind, file):
    """One of several: its part of the batch, and what the first has at the end in a file."""
    dist.init_process_group("gloo")
    model = torchconv.convert(build())
    assert sum(map(torchconv.is_converted, model.modules())) == 5
    images, wanted = (whole.chunk(SIZE)[dist.get_rank()] for whole in batch())
    train(parallel(kind, model), images, wanted)
    state = model.state_dict()
    if kind == "fsdp":
        assert all(type(value).__name__ == "DTensor" for value in state.values())
        state = {name: value.full_tensor() for name, value in state.items()}
    if dist.get_rank() == 0:
        torch.save(state, file)
    dist.barrier()
    dist.destroy_process_group()
    return 0


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_as_one_without_torchconv(tmp_path, kind):
    codes, _, errors = forked.several(tmp_path, SIZE, process, kind, tmp_path / "state")
    assert codes == [0] * SIZE, errors
    alone = build()
    before = {name: value.clone() for name, value in alone.state_dict().items()}
    train(alone, *batch())
    found = torch.load(tmp_path / "state")
    for name, expected in alone.state_dict().items():
        assert_near(found[name], expected, 1e-12)
        assert not torch.equal(expected, before[name])
