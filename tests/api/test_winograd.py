"""The switch for Winograd's algorithms: how it is set, and that every call carries it."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.func import grad, vmap
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from tests.compare import assert_near

ROOT = Path(__file__).parents[2]
FLAGS = {"auto": 0, "off": 32, "f2": 64}
INPUT, WEIGHT = torch.randn(2, 4, 6, 6), torch.randn(6, 4, 3, 3)


@pytest.fixture(autouse=True)
def _from_auto():
    """Whatever TORCHCONV_WINOGRAD says."""
    torchconv.set_winograd("auto")


class Recorder(TorchDispatchMode):
    """The flags of every operator of torchconv's that was dispatched."""

    def __init__(self):
        super().__init__()
        self.flags = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "torchconv":
            (geometry,) = (arg for arg in args if isinstance(arg, (list, tuple)) and len(arg) == 10)
            found = self.flags.setdefault(func.__name__.partition(".")[0], set())
            found.add(geometry[9] % 128)  # the rest is the mode of padding
        return func(*args, **(kwargs or {}))


def flags(function, *arguments, **options):
    with Recorder() as recorder:
        function(*arguments, **options)
    return recorder.flags


def test_blocks_nest_and_survive_exceptions():
    outer = torchconv.winograd("off")
    with pytest.raises(KeyError), outer:
        with torchconv.winograd("f2"), outer:
            assert torchconv.get_winograd() == "off"
        assert torchconv.get_winograd() == "off"
        raise KeyError
    assert torchconv.get_winograd() == "auto"
    with torchconv.winograd("off"):
        torchconv.set_winograd("f2")
        assert torchconv.get_winograd() == "f2"
    assert torchconv.get_winograd() == "f2"


def test_a_block_is_of_its_thread_and_the_choice_for_the_process_of_all():
    with ThreadPoolExecutor(1) as pool:
        with torchconv.winograd("off"):
            assert pool.submit(torchconv.get_winograd).result() == "auto"
        torchconv.set_winograd("f2")
        assert pool.submit(torchconv.get_winograd).result() == "f2"


def test_backend_and_winograd_are_two_settings():
    with torchconv.winograd("off"), torchconv.backend("native"):
        assert (torchconv.get_winograd(), torchconv.get_backend()) == ("off", "native")
    assert (torchconv.get_winograd(), torchconv.get_backend()) == ("auto", "auto")


def layer_in(mode, **options):
    layer = torchconv.Conv2d(4, 6, 3, **options)
    layer.winograd = mode
    return layer


@pytest.mark.parametrize(
    "choose",
    [
        torchconv.set_winograd,
        torchconv.winograd,
        lambda name: torchconv.conv2d(INPUT, WEIGHT, winograd=name),
        lambda name: torchconv.explain(INPUT, WEIGHT, winograd=name),
        lambda name: layer_in(name)(INPUT),
    ],
    ids=["set", "block", "argument", "explain", "layer"],
)
def test_unknown_modes_are_refused(choose):
    with pytest.raises(ValueError, match=r"'auto'.*'f2'.*'off'.*'f6'"):
        choose("f6")
    assert torchconv.get_winograd() == "auto"


def import_with(mode):
    code = "import torchconv; print(torchconv.get_winograd())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "TORCHCONV_WINOGRAD": mode},
    )  # fmt: skip


def test_the_environment_is_what_a_process_begins_with():
    done = import_with("f2")
    assert (done.stdout, done.stderr) == ("f2\n", "")
    done = import_with("F6")
    assert done.stdout == "auto\n"
    assert done.stderr.count("TORCHCONV_WINOGRAD=F6") == 1 and "auto, f2, off" in done.stderr


@pytest.mark.parametrize("mode", FLAGS)
def test_every_way_to_choose_reaches_the_operators(mode):
    expected = {"conv2d": {FLAGS[mode]}}
    assert flags(torchconv.conv2d, INPUT, WEIGHT, winograd=mode) == expected
    assert flags(torchconv.conv2d, INPUT[0], WEIGHT, winograd=mode) == expected
    with torchconv.winograd(mode):
        assert flags(torchconv.conv2d, INPUT, WEIGHT) == expected
        assert flags(torchconv.conv2d, INPUT, WEIGHT, winograd="f2") == {"conv2d": {64}}
        assert flags(layer_in("off"), INPUT) == {"conv2d": {32}}
        last = INPUT.contiguous(memory_format=torch.channels_last)
        assert flags(torchconv.conv2d, last, WEIGHT) == {"conv2d": {FLAGS[mode] + 1}}
        with torch.autocast("cpu"):
            assert flags(torchconv.conv2d, INPUT, WEIGHT) == expected
    for padding_mode in ("zeros", "circular"):
        layer = layer_in(mode, padding=1, padding_mode=padding_mode)
        assert flags(layer, INPUT) == expected
        assert flags(torchconv.convert(layer), INPUT) == expected
    torchconv.set_winograd(mode)
    assert flags(torchconv.conv2d, INPUT, WEIGHT) == expected


def test_a_backward_pass_keeps_what_its_forward_pass_had():
    weight = WEIGHT.clone().requires_grad_()
    image = INPUT.clone().requires_grad_()
    with torchconv.winograd("off"):
        output = torchconv.conv2d(image, weight)
    with torchconv.winograd("f2"):
        assert flags(output.sum().backward) == {"conv2d_backward": {32}}
    with torchconv.winograd("off"):
        loss = torchconv.conv2d(image, weight).square().sum()
    thread_flags = []
    other = threading.Thread(target=lambda: thread_flags.append(flags(loss.backward)))
    other.start()
    other.join()
    assert thread_flags == [{"conv2d_backward": {32}}]


def test_derivatives_of_derivatives_and_transforms_keep_it():
    def loss(weight, image):
        return torchconv.conv2d(image, weight, winograd="f2").square().sum()

    def twice():
        weight, image = WEIGHT.clone().requires_grad_(), INPUT.clone().requires_grad_()
        first = torch.autograd.grad(loss(weight, image), (weight, image), create_graph=True)
        sum(value.square().sum() for value in first).backward()

    def per_sample():
        vmap(grad(loss), (None, 0))(WEIGHT, INPUT[:, None])

    found = flags(twice)
    assert found.keys() >= {"conv2d", "conv2d_grad_input", "conv2d_grad_weight"}
    assert set().union(*found.values()) == {64}
    assert set().union(*flags(per_sample).values()) == {64}


def test_torch_function_modes_pass_it_on():
    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Mode():
        assert flags(torchconv.conv2d, INPUT, WEIGHT, winograd="off") == {"conv2d": {32}}
        assert flags(layer_in("f2"), INPUT) == {"conv2d": {64}}


def graph_flags(function, *arguments):
    """Of the operators in a compiled graph, without the mode of padding."""
    found = set()

    def look(module, _):
        for node in module.graph.nodes:
            geometries = (arg for arg in node.args if isinstance(arg, tuple) and len(arg) == 10)
            found.update(geometry[9] % 128 for geometry in geometries)
        return module.forward

    torch.compile(function, fullgraph=True, backend=look)(*arguments)
    return found


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_graphs_keep_it():
    layer = layer_in("f2", padding=1, padding_mode="circular")
    assert graph_flags(layer, INPUT) == {64}
    assert graph_flags(torchconv.convert(layer), INPUT) == {64}

    def call(image, weight):
        return torchconv.conv2d(image, weight).relu()

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    weight = WEIGHT.clone().requires_grad_()
    for mode in ("auto", "off", "f2", "off"):
        with torchconv.winograd(mode):
            output = compiled(INPUT, weight)
        assert flags(output.sum().backward) == {"conv2d_backward": {FLAGS[mode]}}
    torchconv.set_winograd("f2")
    assert flags(compiled(INPUT, weight).sum().backward) == {"conv2d_backward": {64}}


def test_exported_programs_keep_it():
    program = torch.export.export(layer_in("off"), (INPUT,))
    assert flags(program.module(), INPUT) == {"conv2d": {32}}


def test_the_attribute_of_a_layer_is_copied_and_stored_with_it():
    layer = layer_in("f2")
    assert "winograd='f2'" in repr(layer) and "winograd" not in repr(torchconv.Conv2d(4, 6, 3))
    for found in (layer, torchconv.convert(layer_in("f2"))):
        for same in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            assert same.winograd == "f2" and flags(same, INPUT) == {"conv2d": {64}}
        other = torchconv.Conv2d(4, 6, 3)
        other.load_state_dict(found.state_dict())
        assert other.winograd is None and found.state_dict().keys() == {"weight", "bias"}
        found.load_state_dict(other.state_dict())
        assert found.winograd == "f2"


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_layer_with_a_mode_can_be_scripted():
    layer = layer_in("off")
    assert_near(torch.jit.script(layer)(INPUT), layer(INPUT))


def test_reports_tell_the_mode():
    with torchconv.winograd("f2"):
        assert "\nwinograd: f2\n" in torchconv.show_config()
