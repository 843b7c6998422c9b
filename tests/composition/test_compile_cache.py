"""What Inductor compiled in one process, a second one takes from its cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._decomp import decomposition_table
from torch._dynamo.utils import counters

import torchconv
from tests.compare import assert_near

ROOT = Path(__file__).parents[2]
OPERATORS = [one for one in decomposition_table if "torchconv" in str(one)]


def build():
    torch.manual_seed(9)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, groups=2))


def images(n=4, h=9):
    return torch.randn(n, 3, h, 8, generator=torch.Generator().manual_seed(n))


def gradients(model, images):
    model.zero_grad()
    model(images).sin().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def compiled_and_eager():
    """Gradients with Inductor for images of several sizes, of which it compiles one graph."""
    model = torchconv.convert(build())
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for size in ((4, 9), (3, 12), (6, 7)):
        found, expected = gradients(compiled, images(*size)), gradients(build(), images(*size))
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    return {
        "graphs": counters["stats"]["unique_graphs"],
        "hits": counters["inductor"]["fxgraph_cache_hit"],
        "misses": counters["inductor"]["fxgraph_cache_miss"],
        "bypasses": counters["inductor"]["fxgraph_cache_bypass"],
    }


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_a_second_process_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    counters.clear()
    assert compiled_and_eager() == {"graphs": 1, "hits": 0, "misses": 2, "bypasses": 0}
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"CI": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"graphs": 1, "hits": 2, "misses": 0, "bypasses": 0}


def test_no_operator_is_refused_in_continuous_integration():
    """Where ``CI`` is set, Inductor refuses operators that it was not told of by name."""
    from torch._inductor.lowering import lowerings

    assert OPERATORS
    assert not [operator for operator in OPERATORS if operator not in lowerings]


if __name__ == "__main__":
    print(json.dumps(compiled_and_eager()))
