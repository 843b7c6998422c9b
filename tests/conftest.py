"""Every test starts from the same seed and leaves the process as it found it."""

import gc
import os

os.environ["TORCHCONV_REQUIRE_NATIVE"] = "1"  # or ATen would pass the tests in silence

import pytest  # noqa: E402
import torch  # noqa: E402

import torchconv  # noqa: E402


def pytest_collection_modifyitems(items):
    """Long files come first, so that no process of `make test` is left with one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish():
    """What the modules and the collected tests hold is there to the end: no collection of garbage,
    of which the tests of lifetimes and the compiler start many, need go through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_start():
    threads, winograd = torch.get_num_threads(), torchconv.get_winograd()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torchconv.set_backend("auto")
    torchconv.set_winograd(winograd)


@pytest.fixture
def fresh_compiler():
    """Nothing that torch.compile remembers from other tests."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
