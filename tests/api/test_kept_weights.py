"""Packed weights that a layer keeps: never stale, never in a copy, gone with the layer."""

import copy
import gc
import os
import pickle
import threading
import weakref

import pytest
import torch

from tests.awkward import AWKWARD
from tests.cases import case
from tests.compare import same_bits
from tests.kernels.test_same_bits import random_cases
from tests.kernels.test_store_stage import FORWARD
from tests.reference import DTYPES, random_operands, threads
from torchconv import ConvActivation2d, convert
from torchconv._kept_weights import keep_packed

OPERATORS = torch.ops.torchconv
X = torch.randn(1, 32, 9, 9).contiguous(memory_format=torch.channels_last)


def build() -> ConvActivation2d:
    layer = ConvActivation2d(32, 48, 3, stride=2, padding=1).requires_grad_(False).eval()
    keep_packed(layer)
    return layer


def check(layer, x=X, kept=True, calls=3):
    """The layer gives what one that keeps nothing gives, and keeps what it may."""
    with torch.inference_mode():
        found = [layer(x) for _ in range(calls)]
    assert (layer._kept.bytes > 0) == kept
    state = {name: dict.__getitem__(layer._parameters, name) for name in ("weight", "bias")}
    plain = ConvActivation2d(32, 48, 3, stride=2, padding=1).to(x.dtype)
    for name, value in state.items():
        getattr(plain, name).data.copy_(value)
    del state, value
    with torch.inference_mode():
        assert all(same_bits(one, plain(x)) for one in found)


def multiply_by_parameters(layer):
    for parameter in layer.parameters():
        parameter.data.mul_(2)


def multiply_in_place(layer):
    with torch.no_grad():
        layer.weight.mul_(2)


def replace_parameter(layer):
    layer.weight = torch.nn.Parameter(layer.weight * 2, requires_grad=False)


def step(layer):
    layer.requires_grad_(True)
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    layer(X).sum().backward()
    optimizer.step()
    layer.requires_grad_(False)
    layer.zero_grad()


def swap_storage(layer):
    layer.weight.set_(torch.randn_like(layer.weight))


def load(layer):
    layer.load_state_dict({name: value * 2 for name, value in layer.state_dict().items()})


def load_and_assign(layer):
    state = {name: value * 2 for name, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.weight.data.mul_(2),
        lambda layer: layer.weight.data.zero_(),
        lambda layer: layer.weight.detach().numpy().fill(3),
        lambda layer: torch.from_dlpack(layer.weight.detach()).fill_(3),
        lambda layer: vars(layer)["_parameters"].get("weight").data.mul_(2),
        lambda layer: [value.mul_(2) for value in layer.state_dict().values()],
        multiply_by_parameters,
        multiply_in_place,
        replace_parameter,
        step,
        swap_storage,
        load,
        load_and_assign,
    ],
)
def test_a_changed_weight(change):
    layer = build()
    check(layer)
    change(layer)
    gc.collect()
    check(layer)


@pytest.mark.parametrize(
    "hold",
    [
        lambda layer: layer.weight,
        lambda layer: list(layer.parameters()),
        lambda layer: layer.weight.data,
        lambda layer: layer.weight[0].detach(),
        lambda layer: layer.state_dict(),
        lambda layer: layer.weight.detach().numpy(),
        lambda layer: memoryview(layer.weight.detach().numpy()),
        lambda layer: layer.weight.untyped_storage(),
    ],
)
def test_nothing_is_kept_while_somebody_holds_the_weight(hold):
    layer = build()
    check(layer)
    holder = hold(layer)
    check(layer, kept=False)
    dict.__getitem__(layer._parameters, "weight").data.mul_(2)
    check(layer, kept=False)
    del holder
    check(layer)


def test_weights_in_one_memory():
    layer = build()
    check(layer)
    torch.nn.utils.vector_to_parameters(torch.randn(48 * 289), layer.parameters())
    check(layer, kept=False)
    layer.bias.data.mul_(2)
    check(layer, kept=False)


def test_shared_weights():
    one, other = build(), build()
    other.weight = one.weight
    check(one, kept=False)
    one.weight.data.mul_(2)
    check(other, kept=False)


def test_other_dtypes_sizes_levels_threads_and_layouts():
    layer = build()
    for dtype in DTYPES:
        layer.to(dtype)
        check(layer, X.to(dtype))
    layer.float()
    for size in ((1, 32, 9, 9), (3, 32, 9, 9), (1, 32, 14, 7), (1, 32, 9, 9)):
        check(layer, torch.randn(size))
        check(layer, torch.randn(size).contiguous(memory_format=torch.channels_last))
    check(layer, torch.randn(32, 9, 9))
    for count in (1, 3):
        with threads(count):
            check(layer)
    for level in ("portable", "avx2", ""):
        try:
            OPERATORS._force_isa(level)
        except RuntimeError:
            continue  # not on this processor
        check(layer)
    OPERATORS._force_isa("")


def test_copies_and_pickles_keep_nothing_at_first():
    layer = build()
    check(layer)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._kept.bytes == 0
        check(other)
        other.weight.data.mul_(2)
        check(other)
        check(layer)
    assert len(pickle.dumps(layer)) < 1.1 * len(pickle.dumps(convert(copy.copy(layer))))


def test_freed_with_the_layer():
    layer = build()
    check(layer)
    packed = weakref.ref(layer._kept._packed.packed.result[1])
    del layer
    gc.collect()
    assert packed() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process():
    layer = build()
    check(layer)
    child = os.fork()
    if child == 0:
        try:
            layer.weight.data.mul_(2)
            check(layer)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    check(layer)


def test_several_threads_of_python():
    layer = build()
    with torch.inference_mode():
        expected = layer(X)
    wrong = []

    def run():
        with torch.inference_mode():
            wrong.extend(i for i in range(200) if not same_bits(layer(X), expected))

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_gradients_transforms_and_autocast():
    layer, plain = build(), build()
    plain.load_state_dict(layer.state_dict())
    del plain._kept
    check(layer)
    x, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    layer(x).sum().backward()
    plain(other).sum().backward()
    assert same_bits(x.grad, other.grad)
    state = {name: value * 2 for name, value in layer.state_dict().items()}
    assert same_bits(
        torch.func.functional_call(layer, state, X), torch.func.functional_call(plain, state, X)
    )
    assert same_bits(torch.vmap(layer)(X[None]), torch.vmap(plain)(X[None]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert same_bits(layer(X), plain(X))
    with torch.no_grad():
        traced = torch.jit.trace(layer, X)
        exported = torch.export.export(layer, (X,)).module()
        for other in (traced, exported):
            torch.testing.assert_close(other(X), plain(X))
    check(layer, kept=False)  # the graphs hold the weight
    del traced, exported, other
    gc.collect()
    check(layer)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled():
    layer = build()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        assert same_bits(compiled(X), layer(X))
        layer.weight.data.mul_(2)
        assert same_bits(compiled(X), layer(X))


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("algorithm", ["", *sorted({*FORWARD} - {"reference"})])
def test_same_bits_from_packed_weights(algorithm, dtype, channels_last):
    OPERATORS._force_algorithm(algorithm)
    try:
        for shape in [*AWKWARD, *random_cases(20, seed=5)]:
            t = random_operands(shape, dtype, seed=shape.k)
            geometry = shape.geometry(channels_last)
            packed = OPERATORS._pack_weights(t.weight, shape.input_size, geometry)
            call = (t.input, t.weight, t.bias, None, geometry, 0, 0.0)
            expected = OPERATORS.conv2d_activation(*call)
            assert same_bits(OPERATORS.conv2d_activation(*call, packed), expected), shape
            if packed.numel():  # and they are what is read, in the place of the weight
                nothing = (t.input, torch.zeros_like(t.weight), *call[2:])
                found = OPERATORS.conv2d_activation(*nothing, packed)
                assert same_bits(found, expected) or "pointwise" in algorithm, shape
            other = OPERATORS._pack_weights(t.weight[:, :, :1, :1], (1, shape.c, 1, 1), geometry)
            assert same_bits(OPERATORS.conv2d_activation(*call, other), expected), shape
    finally:
        OPERATORS._force_algorithm("")


def test_transformed_weights_of_many_channels_are_not_kept():
    """Transformed once for many tiles they would take 5 MB in the place of 1."""
    shape = case("", 24, 512, 8, 64, 3)
    t = random_operands(shape, torch.float32)
    for channels_last in (False, True):
        geometry = shape.geometry(channels_last)
        packed = OPERATORS._pack_weights(t.weight, shape.input_size, geometry)
        assert packed.numel() == 0
        call = (t.input, t.weight, t.bias, None, geometry, 0, 0.0)
        assert same_bits(
            OPERATORS.conv2d_activation(*call, packed), OPERATORS.conv2d_activation(*call)
        )


def test_refused():
    call = (X, torch.randn(48, 32, 3, 3), None, None, (1,) * 9 + (1,), 0, 0.0)
    for packed in (torch.zeros(300), torch.zeros(20, 20, dtype=torch.uint8)):
        with pytest.raises(RuntimeError, match="packed must be what _pack_weights returned"):
            OPERATORS.conv2d_activation(*call, packed)
