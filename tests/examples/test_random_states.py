"""The random generators of a run: kept in its checkpoint, and shared by the networks compared."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from examples.training import checkpoint
from examples.training.processes import Processes
from examples.training.run import Run


def test_random_states_come_back(tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item(), random.gauss(0, 1)

    draw()
    states = checkpoint.random_states(torch.device("cpu"))
    checkpoint.save(tmp_path / "c.pt", {"epoch": 0, "random": states})
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    loaded = checkpoint.load(tmp_path / "c.pt")["random"]
    checkpoint.set_random_states(loaded, torch.device("cpu"))
    assert draw() == expected


class DeviceModule:
    """What torch.cuda, torch.mps and torch.xpu have in common, with generators on the CPU."""

    def __init__(self, device_type):
        devices = [torch.device(device_type), *(torch.device(device_type, i) for i in range(2))]
        self.generators = {device: torch.Generator().manual_seed(7) for device in devices}

    def get_rng_state(self, device):
        return self.generators[device].get_state()

    def set_rng_state(self, state, device):
        self.generators[device].set_state(state)

    def draw(self, device):
        return torch.rand(3, generator=self.generators[device]).tolist()


@pytest.fixture(params=["cuda:1", "mps", "xpu:0"])
def accelerator(request, monkeypatch):
    device = torch.device(request.param)
    module = DeviceModule(device.type)
    monkeypatch.setattr(torch, "get_device_module", lambda d: module)
    return device, module


def test_random_numbers_of_any_device_come_back(tmp_path, accelerator):
    device, module = accelerator
    module.draw(device)
    states = checkpoint.random_states(device)
    checkpoint.save(tmp_path / "c.pt", {"epoch": 0, "random": states})
    expected = module.draw(device), torch.rand(3).tolist()
    loaded = checkpoint.load(tmp_path / "c.pt")["random"]
    checkpoint.set_random_states(loaded, device)
    assert (module.draw(device), torch.rand(3).tolist()) == expected
    checkpoint.set_random_states(loaded, torch.device("cpu"))  # the run moves to another device
    assert torch.rand(3).tolist() == expected[1]


def test_random_numbers_of_an_older_checkpoint(accelerator):
    device, module = accelerator
    states = checkpoint.random_states(torch.device("cpu"))
    states["cuda"] = [torch.Generator().manual_seed(seed).get_state() for seed in (8, 9)]
    checkpoint.set_random_states(states, device)
    seed = 9 if device.type == "cuda" else 7  # that of cuda:1; others were not kept
    assert module.draw(device) == torch.rand(3, generator=torch.manual_seed(seed)).tolist()


def test_dropout_of_both_networks_is_the_same_on_any_device(accelerator):
    device, module = accelerator
    one_run = SimpleNamespace(processes=Processes(0, 1, device))
    with Run._same_dropout(one_run):
        first = module.draw(device), torch.rand(3).tolist()
    assert (module.draw(device), torch.rand(3).tolist()) == first
