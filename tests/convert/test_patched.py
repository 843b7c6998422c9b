"""``patched`` sends convolutions of code that ``convert`` cannot change through torchconv."""

import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import conv2d as imported_by_name

import torchconv
from tests.compare import assert_all_near, assert_near, outcome, same_bits
from tests.convert.converting import Operators, computed_by
from tests.relatives.calls import CALLS, each_call

IMAGE, KERNEL = torch.rand(2, 1, 12, 12), torch.rand(1, 1, 5, 5)


def blur(image=IMAGE):
    return F.conv2d(image, KERNEL)


@each_call
@pytest.mark.parametrize("package", [torch, F], ids=["torch", "functional"])
def test_functions_of_torch_are_those_of_torchconv(call, package):
    tensors = call.tensors(torch.float32)
    function = getattr(package, call.name)
    expected = function(*tensors, **call.options)
    gradients = torch.autograd.grad(expected.sum(), tensors)
    names = "input", "weight", "bias"
    with torchconv.patched():
        for run in (
            lambda: function(*tensors, **call.options),
            lambda: function(**dict(zip(names, tensors, strict=True)), **call.options),
        ):
            assert computed_by(run) == "torchconv"
            output = run()
    assert same_bits(output, call.ours(*tensors))
    assert_near(output, expected)
    assert_all_near(torch.autograd.grad(output.sum(), tensors), gradients)
    assert computed_by(lambda: function(*tensors, **call.options)) == "PyTorch"


def test_all_functions_were_called():
    assert {call.name for call in CALLS} == {"conv1d", "conv_transpose1d", "conv_transpose2d"}


@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3), (3, 3, 3)], ids=str)
def test_volumes(kernel):
    volume, weight = torch.rand(2, 4, 5, 6, 7), torch.rand(6, 4, *kernel)
    volume = volume.contiguous(memory_format=torch.channels_last_3d)
    expected = F.conv3d(volume, weight)
    with torchconv.patched():
        by = "PyTorch" if kernel == (3, 3, 3) else "torchconv"
        assert computed_by(F.conv3d, volume, weight) == by
        output = torch.conv3d(volume, weight)
    assert same_bits(output, torchconv.conv3d(volume, weight))
    assert_near(output, expected)


def test_whoever_calls_them():
    for call in (
        blur,
        lambda: imported_by_name(IMAGE, KERNEL, padding="same"),
        lambda: nn.Conv2d(1, 3, 3)(IMAGE),
        lambda: torchconv.conv2d(IMAGE, KERNEL),
        lambda: torchconv.convert(nn.ConvTranspose2d(1, 3, 3))(IMAGE),
    ):
        with torchconv.patched():
            assert computed_by(call) == "torchconv"


def test_blocks_nest_and_are_entered_again():
    patch = torchconv.patched()
    with patch:
        with patch, torchconv.patched():
            assert computed_by(blur) == "torchconv"
        assert computed_by(blur) == "torchconv"
    assert computed_by(blur) == "PyTorch"
    with patch:
        assert computed_by(blur) == "torchconv"


def test_an_exception_ends_a_block():
    for call in (lambda: 1 / 0, lambda: F.conv2d(IMAGE, KERNEL, stride=0)):
        with pytest.raises((ZeroDivisionError, RuntimeError)), torchconv.patched():
            call()
        assert computed_by(blur) == "PyTorch"


def test_as_a_decorator():
    @torchconv.patched()
    def blurred(times):
        """Blurs."""
        return blur() if times == 1 else F.relu(blurred(times - 1))

    assert blurred.__doc__ == "Blurs." and computed_by(blurred, 3) == "torchconv"
    assert computed_by(blur) == "PyTorch"


def test_other_threads_are_not_concerned():
    found = []
    thread = threading.Thread(target=lambda: found.append(computed_by(blur)))
    with torchconv.patched():
        thread.start()
        thread.join()
        assert computed_by(blur) == "torchconv"
    assert found == ["PyTorch"]


def test_a_backward_pass_outside_runs_what_its_forward_pass_ran():
    image = IMAGE.clone().requires_grad_()
    with torchconv.patched():
        output = blur(image)
    with Operators() as seen:
        output.sum().backward()
    assert any(name.startswith("torchconv::") for name in seen.names)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (F.conv2d, (IMAGE.long(), KERNEL.long())),
        (F.conv2d, (IMAGE.to(torch.complex64), KERNEL.to(torch.complex64))),
        (F.conv1d, (IMAGE[0, :, :1].long(), KERNEL[0, :, :1].long())),
        (F.conv3d, (torch.rand(1, 1, 4, 4, 4), torch.rand(1, 1, 3, 3, 3))),
        (torch.convolution, (IMAGE, KERNEL, None, [1], [0], [1], False, [0], 1)),
        (F.linear, (IMAGE, IMAGE[0, 0])),
        (F.max_pool2d, (IMAGE, 2)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_calls_are_not_changed(function, arguments):
    expected = function(*arguments)
    with torchconv.patched(), Operators() as seen:
        found = function(*arguments)
    assert torch.equal(found, expected) and found.dtype is expected.dtype
    assert not any(name.startswith("torchconv::") for name in seen.names)


@pytest.mark.parametrize(
    "arguments",
    [(IMAGE,), (IMAGE, KERNEL[0]), (IMAGE, KERNEL, None, 0), (IMAGE, None), (IMAGE, KERNEL, 1)],
    ids=lambda value: str(len(value)),
)
def test_errors_have_the_types_of_pytorch(arguments):
    expected = outcome(F.conv2d, *arguments)[0]
    with torchconv.patched():
        assert outcome(F.conv2d, *arguments)[0] is expected
    assert issubclass(expected, Exception)


def test_the_backend_decides_inside():
    with torchconv.patched(), torchconv.backend("aten"):
        assert computed_by(blur) == "PyTorch"


def test_classes_with_functions_of_their_own_get_the_call():
    class Logging(torch.Tensor):
        seen = []

        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            cls.seen.append(function)
            return super().__torch_function__(function, types, arguments, options or {})

    with torchconv.patched():
        blur(IMAGE.as_subclass(Logging))
    assert torch.conv2d in Logging.seen


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("where", ["around", "inside", "decorator"])
def test_compiled(where):
    graphs = []

    def backend(graph, inputs):
        graphs.append(computed_by(graph, *inputs))
        return graph

    def inside(image):
        with torchconv.patched():
            return blur(image) + 1

    function = {"around": lambda x: blur(x) + 1, "inside": inside}.get(
        where, torchconv.patched()(lambda x: blur(x) + 1)
    )
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    if where == "around":
        assert_near(compiled(IMAGE), function(IMAGE))
        with torchconv.patched():
            assert_near(compiled(IMAGE), function(IMAGE))
            compiled(IMAGE)
        compiled(IMAGE)  # the first graph again
        assert graphs == ["PyTorch", "torchconv"]
    else:
        assert_near(compiled(IMAGE), function(IMAGE))
        assert graphs == ["torchconv"]
    assert computed_by(blur) == "PyTorch"


@pytest.mark.parametrize("strict", [False, True])
def test_exported(strict):
    with torchconv.patched():
        program = torch.export.export(nn.Conv2d(1, 3, 3), (IMAGE,), strict=strict)
    assert computed_by(program.module(), IMAGE) == "torchconv"


def test_nothing_is_kept():
    image = IMAGE.clone()
    gone = weakref.ref(image)
    with torchconv.patched():
        blur(image)
        del image
        assert gone() is None


def test_filters_of_torchvision():
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    image = torch.rand(3, 40, 40)
    expected = functional.gaussian_blur(image, [23, 23])
    with torchconv.patched():
        assert computed_by(functional.gaussian_blur, image, [23, 23]) == "torchconv"
        assert_near(functional.gaussian_blur(image, [23, 23]), expected)
        bytes = (image * 255).to(torch.uint8)  # which it blurs in float32
        assert computed_by(functional.gaussian_blur, bytes, [5, 5]) == "torchconv"
