"""Who computes a call: torchconv, ATen, or the tensor's own class; and what users are told."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv
from torchconv._operators import load


class Recorder(TorchDispatchMode):
    """The names of the convolution operators that were dispatched."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "conv" in str(func):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operators(function, *arguments, **options):
    with Recorder() as recorder:
        function(*arguments, **options)
    return recorder.names


INPUT, WEIGHT = torch.ones(2, 4, 6, 6), torch.ones(6, 4, 3, 3)
NATIVE = ["torchconv.conv2d.default"]


def test_the_default_is_native_on_the_cpu():
    assert torchconv.get_backend() == "auto"
    assert operators(torchconv.conv2d, INPUT, WEIGHT) == NATIVE
    torchconv.set_backend("native")
    assert operators(torchconv.conv2d, INPUT, WEIGHT) == NATIVE
    torchconv.set_backend("aten")
    assert operators(torchconv.conv2d, INPUT, WEIGHT) == ["aten.convolution.default"]


def test_backend_blocks_nest_and_survive_exceptions():
    outer = torchconv.backend("aten")
    with pytest.raises(KeyError), outer:
        with torchconv.backend("native"), outer:
            assert torchconv.get_backend() == "aten"
        assert torchconv.get_backend() == "aten"
        raise KeyError
    assert torchconv.get_backend() == "auto"


def test_blocks_of_threads_that_overlap():
    """Each thread has its own, whichever ends first, though both use one object."""
    block, entered, left, seen = torchconv.backend("aten"), threading.Event(), threading.Event(), []

    def work():
        with torchconv.backend("native"), block:
            entered.set()
            left.wait(60)
            seen.append(torchconv.get_backend())
        seen.append(torchconv.get_backend())

    other = threading.Thread(target=work)
    with torchconv.backend("native"):
        other.start()
        entered.wait(60)
        with block:
            seen.append(torchconv.get_backend())
        seen.append(torchconv.get_backend())
    seen.append(torchconv.get_backend())
    left.set()
    other.join(60)
    assert seen == ["aten", "native", "auto", "aten", "auto"]
    assert torchconv.get_backend() == "auto"


def test_blocks_of_tasks_that_overlap():
    async def both():
        entered, left = asyncio.Event(), asyncio.Event()

        async def first():
            with torchconv.backend("aten"):
                await entered.wait()
                found = torchconv.get_backend()
            left.set()
            return found

        async def second():
            with torchconv.backend("native"):
                entered.set()
                await left.wait()
                return torchconv.get_backend()

        return await asyncio.gather(first(), second())

    assert asyncio.run(both()) == ["aten", "native"]
    assert torchconv.get_backend() == "auto"


def test_the_choice_for_the_process_reaches_other_threads_and_stays():
    with torchconv.backend("aten"):
        torchconv.set_backend("native")
        assert torchconv.get_backend() == "native"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torchconv.get_backend).result() == "native"
    assert torchconv.get_backend() == "native"


def test_a_backward_pass_runs_what_its_forward_pass_was_told():
    weight = WEIGHT.clone().requires_grad_()
    with torchconv.backend("aten"):
        output = torchconv.conv2d(INPUT, weight)
    assert not any("torchconv" in name for name in operators(output.sum().backward))
    output = torchconv.conv2d(INPUT, weight)
    with torchconv.backend("aten"):
        assert operators(output.sum().backward) == ["torchconv.conv2d_backward.default"]


@pytest.mark.parametrize("choose", [torchconv.set_backend, torchconv.backend])
def test_unknown_backends_are_refused(choose):
    with pytest.raises(ValueError, match="'cudnn'"):
        choose("cudnn")
    assert torchconv.get_backend() == "auto"


@pytest.mark.parametrize(
    ("input", "weight", "reason"),
    [
        (INPUT.long(), WEIGHT.long(), "int64"),
        (INPUT.cfloat(), WEIGHT.cfloat(), "complex64"),
        (INPUT.to_mkldnn(), WEIGHT, "mkldnn"),
        (torch.ones(2, 0, 6, 6), torch.ones(6, 0, 3, 3), "channels"),
    ],
    ids=["int64", "complex64", "mkldnn", "no channels"],
)
def test_what_torchconv_does_not_compute_goes_to_aten(input, weight, reason):
    assert reason in torchconv.explain(input, weight)
    assert not any("torchconv" in name for name in operators(torchconv.conv2d, input, weight))


def test_complex_gradients():
    arguments = [torch.randn(1, 2, 4, 4, dtype=torch.cdouble, requires_grad=True)]
    arguments += [torch.randn(3, 2, 2, 2, dtype=torch.cdouble, requires_grad=True)]
    assert torch.autograd.gradcheck(torchconv.conv2d, arguments, fast_mode=True)


class Plain(torch.Tensor):
    """A subclass that leaves everything to Tensor."""


class Logging(torch.Tensor):
    """A subclass with an implementation of its own."""

    functions = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.functions.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_plain_subclasses_keep_their_type():
    output = torchconv.conv2d(INPUT.as_subclass(Plain), WEIGHT)
    assert type(output) is Plain
    assert type(torchconv.conv2d(INPUT, torch.nn.Parameter(WEIGHT.as_subclass(Plain)))) is Plain
    assert operators(torchconv.conv2d, INPUT.as_subclass(Plain), WEIGHT) == NATIVE


def test_other_subclasses_see_f_conv2d():
    Logging.functions.clear()
    output = torchconv.conv2d(INPUT.as_subclass(Logging), WEIGHT, padding=1)
    assert type(output) is Logging
    assert F.conv2d in Logging.functions


def test_torch_function_modes_see_the_call():
    class Mode(TorchFunctionMode):
        functions = []

        def __torch_function__(self, func, types, args=(), kwargs=None):
            self.functions.append(func)
            return func(*args, **(kwargs or {}))

    with Mode() as mode:
        output = torchconv.conv2d(INPUT, WEIGHT, stride=2)
    assert torchconv.conv2d in mode.functions
    assert torch.equal(output, torchconv.conv2d(INPUT, WEIGHT, stride=2))
    with torch.device("cpu"):
        assert operators(torchconv.conv2d, INPUT, WEIGHT) == NATIVE


def test_torch_fx_records_the_call():
    def call(input, weight):
        return torchconv.conv2d(input, weight, padding="same").relu()

    traced = torch.fx.symbolic_trace(call)
    assert torchconv.conv2d in [node.target for node in traced.graph.nodes]
    assert torch.equal(traced(INPUT, WEIGHT), call(INPUT, WEIGHT))


def test_wrappers_with_other_dispatchers_stay_with_aten():
    class Wrapper(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

        @staticmethod
        def __new__(cls, inner):
            return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

        def __init__(self, inner):
            self.inner = inner

        @classmethod
        def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
            assert func is torch.ops.aten.convolution.default
            args = [arg.inner if isinstance(arg, Wrapper) else arg for arg in args]
            return Wrapper(func(*args, **(kwargs or {})))

    output = torchconv.conv2d(Wrapper(INPUT), WEIGHT)
    assert torch.equal(output.inner, F.conv2d(INPUT, WEIGHT))
    assert "Wrapper" in torchconv.explain(Wrapper(INPUT), WEIGHT)


def test_an_old_torch_is_named():
    with pytest.raises(ImportError, match=r"torch >= 2\.11, but torch 2\.9\.1\+cpu"):
        load.check_torch_version("2.9.1+cpu")
    for version in ("2.11.0", "2.15.0+cu132", "3.0.0a0+git1234", "10.1"):
        load.check_torch_version(version)


def test_a_backend_block_can_be_entered_again():
    block = torchconv.backend("aten")
    for outer in ("native", "auto"):
        torchconv.set_backend(outer)
        with block:
            with block:
                pass
            assert torchconv.get_backend() == "aten"
        assert torchconv.get_backend() == outer
