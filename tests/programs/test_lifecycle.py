"""Programs go where models go, and end with them."""

import copy
import gc
import io
import os
import pickle
import threading

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import same_bits
from tests.optimize.models import image, randomised
from tests.programs.networks import (
    Graph,
    Network,
    X,
    assert_same,
    kinds,
    layer_by_layer,
    optimised,
    running,
    runs,
)
from tests.reference import threads
from torchconv._programs.shortcut import shortcut_of

COUNT = torch.ops.torchconv._program_count


def saved_and_loaded(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("how", [copy.deepcopy, pickled, saved_and_loaded])
@pytest.mark.parametrize("network", [Network, Graph])
def test_copies(network, how):
    model = running(network())
    keys, text = list(model.state_dict()), repr(model)
    copied = how(model)
    assert list(copied.state_dict()) == keys and repr(copied) == text
    assert runs(copied) == 0 and shortcut_of(copied) is not shortcut_of(model)
    assert_same(copied)
    with torch.no_grad():
        copied.stem[0].weight.mul_(2) if network is Network else copied.stem.weight.mul_(2)
    assert_same(copied)
    assert_same(model)
    assert not same_bits(layer_by_layer(copied, X), layer_by_layer(model, X))
    del model
    gc.collect()
    assert_same(copied)


def test_names_and_children_stay():
    model = randomised(Network())
    names = list(dict(model.named_modules()))
    optimised_model = running(model)
    assert list(dict(optimised_model.named_modules())) == names
    assert list(optimised_model.state_dict()) == list(copy.deepcopy(optimised_model).state_dict())
    assert "Shortcut" not in repr(optimised_model)


def test_a_shallow_copy_of_what_is_gone():
    model = running()
    copied = copy.copy(model)
    del model
    gc.collect()
    with pytest.raises(ReferenceError, match="shallow copy"):
        copied(X)


def test_ends_with_the_model():
    gc.collect()
    before = COUNT()
    model = running()
    gc.collect()  # what is left of optimize()
    gc.disable()
    try:
        assert COUNT() == before + 2
        del model
        assert COUNT() == before
    finally:
        gc.enable()


def test_one_program_at_a_time():
    gc.collect()
    before = COUNT()
    model = running()
    others = image(1, 3, 16, 16)
    with torch.inference_mode():
        model(others), model(X), model(others), model(X)
        assert runs(model) == 3 and COUNT() == before + 2
        model(others), model(others), model(others)
        assert runs(model) == 5 and COUNT() == before + 2
    assert_same(model, others)
    assert_same(model, X)


def test_optimised_again():
    model = running()
    again = torchconv.optimize(model, X)
    assert repr(again) == repr(model) and kinds(again) == kinds(model)
    assert shortcut_of(again) is not shortcut_of(model)
    assert_same(again)
    assert_same(torchconv.optimize(model, inplace=True))
    assert runs(torchconv.optimize(nn.Sequential(model, nn.ReLU()).eval())) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process():
    with threads(1):
        model = running()
        expected = layer_by_layer(model, X)
        with torch.inference_mode():
            model(X), model(X)
        child = os.fork()
        if child == 0:
            with torch.inference_mode():
                same = same_bits(model(X), expected)
            os._exit(0 if same and runs(model) == 3 else 1)
        assert os.waitpid(child, 0)[1] == 0
        with torch.inference_mode():
            assert same_bits(model(X), expected) and runs(model) == 3


@pytest.mark.parametrize("made", [False, True])
def test_several_threads_of_python(made):
    expected = layer_by_layer(optimised(), X)
    model = running() if made else optimised()
    wrong = []

    def run():
        with torch.inference_mode():
            wrong.extend(i for i in range(100) if not same_bits(model(X), expected))

    workers = [threading.Thread(target=run) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong and (runs(model) == 1 + 3 * 100 or not made)


def test_the_report():
    model = running()
    report = torchconv.report(model)
    assert all("in one call" in row.done for row in report if ", kernel " in row.layer)
    assert report.kept_bytes == report[0].kept_bytes == shortcut_of(model).bytes > 0
    assert report[0].name == "" and report[0].layer == "Network" and "kept" in str(report)
    fresh = torchconv.report(copy.deepcopy(model))
    assert fresh.kept_bytes == 0 and fresh[0].name == "stem.0"
    model.early = nn.Sequential()
    assert torchconv.report(model)[0].done[-1:] != ("in one call",)
