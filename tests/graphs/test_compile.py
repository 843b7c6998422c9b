"""torch.compile, autocast, the meta device, and PyTorch's operator checks."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, hessian, jvp, vmap

import torchconv
from tests.compare import FLOATS, assert_all_near, assert_near, same_bits

pytestmark = pytest.mark.usefixtures("fresh_compiler")

GEOMETRY = dict(stride=(2, 1), padding=1, groups=2)


def arguments(n=2, h=7, dtype=torch.float32):
    torch.manual_seed(0)
    tensors = torch.randn(n, 4, h, 6), torch.randn(6, 2, 3, 3), torch.randn(6)
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def block(input, weight, bias, conv=torchconv.conv2d):
    return conv(input, weight, bias, **GEOMETRY).relu()


def output_and_gradients(function, tensors):
    output = function(*tensors)
    return [output, *torch.autograd.grad(output.sin().sum(), tensors)]


def assert_same(function, tensors, tolerance=None):
    """The compiled function against eager torchconv and F.conv2d, including memory formats."""
    actual = output_and_gradients(function, tensors)
    eager = output_and_gradients(block, tensors)
    assert_all_near(actual, eager, tolerance)
    assert_all_near(actual, output_and_gradients(lambda *t: block(*t, F.conv2d), tensors), 2e-5)
    assert [t.stride() for t in actual] == [t.stride() for t in eager]


@pytest.mark.parametrize("channels_last", [False, True])
def test_compile_with_static_shapes(channels_last):
    tensors = arguments()
    if channels_last:
        tensors[0] = tensors[0].detach().contiguous(memory_format=torch.channels_last)
        tensors[0].requires_grad_()
    assert_same(torch.compile(block, fullgraph=True, backend="aot_eager"), tensors)


def test_compile_with_dynamic_shapes_compiles_once():
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_same(compiled, arguments(8, 9))  # sizes that no other dimension has
    with torch.compiler.set_stance("fail_on_recompile"):
        for n, h in ((3, 8), (5, 12)):
            assert_same(compiled, arguments(n, h))


def test_compile_without_gradients():
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert same_bits(compiled(*arguments()), block(*arguments()))
    with torch.inference_mode():
        assert same_bits(compiled(*arguments()), block(*arguments()))


def test_compile_with_inductor():
    layer = torchconv.Conv2d(4, 6, 3, padding="same", padding_mode="circular")
    compiled = torch.compile(layer, fullgraph=True)
    image = torch.randn(2, 4, 8, 8)
    for call in (layer, compiled):
        call.zero_grad()
        call(image).sin().sum().backward()
        gradients = [p.grad.clone() for p in layer.parameters()]
        if call is layer:
            expected = gradients
    assert_all_near(gradients, expected)
    assert_near(compiled(image), layer(image))


def test_compile_of_same_padding_unbatched_images_and_errors():
    def call(image, weight):
        return torchconv.conv2d(image, weight, padding="same", dilation=(1, 2))

    image, weight = torch.randn(4, 7, 6), torch.randn(3, 4, 2, 2)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert same_bits(compiled(image, weight), call(image, weight))
    # Older compilers tell the message in pieces.
    message = "to have 4 channels, but got 5|raised exception RuntimeError.* channels, but got "
    with pytest.raises(RuntimeError, match=message):
        compiled(torch.randn(5, 7, 6), weight)


def test_compile_follows_the_backend():
    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    native = compiled(*arguments())
    with torchconv.backend("aten"):
        assert same_bits(compiled(*arguments()), block(*arguments(), F.conv2d))
    assert same_bits(compiled(*arguments()), native)


TRANSFORMS = {
    "grad": lambda f, x, w, b: grad(lambda w: f(x, w, b).sin().sum())(w),
    "jvp": lambda f, x, w, b: jvp(lambda w: f(x, w, b), (w,), (w.cos(),)),
    "vmap": lambda f, x, w, b: vmap(lambda w: f(x, w, b))(torch.stack([w, w.cos()])),
    "per sample": lambda f, x, w, b: vmap(
        grad(lambda w, x: f(x[None], w, b).sin().sum()), (None, 0)
    )(w, x),
    "hessian": lambda f, x, w, b: hessian(lambda b: f(x, w, b).sin().sum())(b),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_compile_of_transforms(name):
    tensors = [tensor.detach() for tensor in arguments(dtype=torch.float64)]

    def transformed(function):
        return lambda *tensors: TRANSFORMS[name](function, *tensors)

    actual = torch.compile(transformed(block), fullgraph=True, backend="aot_eager")(*tensors)
    expected = transformed(lambda *t: block(*t, F.conv2d))(*tensors)
    torch.testing.assert_close(actual, expected)


def test_compiled_autograd():
    tensors = arguments()

    def train(input, weight, bias):
        return block(input, weight, bias).sin().sum()

    expected = torch.autograd.grad(train(*tensors), tensors)
    loss = train(*tensors)
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="aot_eager")):
        loss.backward()
    assert_all_near([tensor.grad for tensor in tensors], expected)


CHANNELS_LAST = torch.channels_last


class Selected(torch.nn.Module):
    """A layer on as many of its images as the data say."""

    def __init__(self, weight_format):
        super().__init__()
        self.layer = torchconv.Conv2d(4, 6, 3, padding=1).to(memory_format=weight_format)

    def forward(self, images, mask):
        return self.layer(images[mask]).relu()


@pytest.mark.parametrize("weight_format", [torch.contiguous_format, CHANNELS_LAST], ids=str)
@pytest.mark.parametrize("image_format", [torch.contiguous_format, CHANNELS_LAST], ids=str)
def test_a_batch_as_large_as_the_data_say(image_format, weight_format):
    net, mask = Selected(weight_format), torch.tensor([True, False, True])
    images = torch.randn(3, 4, 7, 6).contiguous(memory_format=image_format).requires_grad_()
    detached = images.detach()
    exported = torch.export.export(net, (detached, mask)).module()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
        for chosen in (mask, ~mask, mask | ~mask, mask & ~mask):
            expected = net(detached, chosen)
            for found in (exported(detached, chosen), compiled(images, chosen)):
                assert torch.equal(found, expected)
                assert found.stride() == expected.stride() or not chosen.any()
            wanted = (images, *net.parameters())
            assert_all_near(
                torch.autograd.grad(compiled(images, chosen).sin().sum(), wanted),
                torch.autograd.grad(net(images, chosen).sin().sum(), wanted),
            )


class Net(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(2)
        self.first = layer(3, 4, 3, stride=2, padding=1)
        self.second = layer(4, 4, 3, padding="same", groups=2)

    def forward(self, image):
        return self.second(self.first(image).relu())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(dtype):
    input, weight, bias = arguments()
    with torch.autocast("cpu", dtype):
        actual, expected = block(input, weight, bias), block(input, weight, bias, F.conv2d)
        mixed = torchconv.conv2d(input.bfloat16(), weight, bias, **GEOMETRY)
        double = torchconv.conv2d(input.double(), weight.double(), **GEOMETRY)
        with pytest.raises(RuntimeError, match="should be the same"):
            torchconv.conv2d(input.double(), weight, **GEOMETRY)
        with pytest.raises(RuntimeError, match="should be the same"):
            torchconv.conv2d(input, weight, bias.detach().long(), **GEOMETRY)
    assert actual.dtype is expected.dtype is mixed.dtype is dtype
    assert double.dtype is torch.float64
    assert_near(actual, expected)
    tensors = (input, weight, bias)
    cotangent = torch.randn_like(actual)
    gradients = torch.autograd.grad(actual, tensors, cotangent)
    assert all(gradient.dtype is torch.float32 for gradient in gradients)
    assert_all_near(gradients, torch.autograd.grad(expected, tensors, cotangent), 2e-2)

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype):
        assert same_bits(compiled(*tensors), actual)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_meta_and_fake_tensors_have_the_right_strides(dtype):
    for memory_format in (torch.contiguous_format, torch.channels_last):
        tensors = [tensor.detach() for tensor in arguments(dtype=dtype)]
        tensors[0] = tensors[0].contiguous(memory_format=memory_format)
        tensors = [tensor.requires_grad_() for tensor in tensors]
        real = output_and_gradients(block, tensors)
        meta = [tensor.detach().to("meta").requires_grad_() for tensor in tensors]
        with FakeTensorMode() as mode:
            fake = [mode.from_tensor(tensor) for tensor in tensors]
        for others in (meta, fake):
            results = output_and_gradients(block, others)
            for one, other in zip(results, real, strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
                assert one.stride() == other.stride()


OPERATORS = torch.ops.torchconv


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_opcheck(dtype, channels_last, recorded):
    """Schema, fake tensors, autograd keys and compiled gradients, as PyTorch checks operators.

    What is compiled does not depend on the dtype, which the fake tensors of each have.
    """
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if dtype is torch.float32:
        checks.append("test_aot_dispatch_dynamic")
    geometry = (2, 1, 1, 2, 0, 1, 1, 1, 2, int(channels_last))
    for layout in (torch.contiguous_format, torch.channels_last):
        tensors = [tensor.detach() for tensor in arguments(dtype=dtype)]
        tensors[0] = tensors[0].contiguous(memory_format=layout)
        tensors.append(OPERATORS.conv2d.default(*tensors, geometry))
        input, weight, bias, grad = (tensor.requires_grad_(recorded) for tensor in tensors)
        sizes = input.shape, weight.shape
        for op, arguments_ in (
            (OPERATORS.conv2d.default, (input, weight, bias, geometry)),
            (OPERATORS.conv2d.default, (input[:0], weight, None, geometry)),
            (OPERATORS.conv2d_grad_input.default, (grad, weight, sizes[0], geometry)),
            (OPERATORS.conv2d_grad_weight.default, (grad, input, sizes[1], geometry)),
            (OPERATORS.conv2d_backward.default, (grad, input, weight, sizes[1], geometry, True)),
            (OPERATORS.conv2d_backward.default, (grad, input, None, sizes[1], geometry, False)),
        ):
            result = torch.library.opcheck(op, arguments_, test_utils=checks)
            assert len(result) == len(checks) and set(result.values()) == {"SUCCESS"}


def test_functional_call_and_module_state():
    net = Net(torchconv.Conv2d)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    image = torch.randn(2, 3, 9, 8)
    expected = functional_call(Net(torch.nn.Conv2d), dict(net.named_parameters()), (image,))
    assert_near(compiled(image), expected)
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert_near(compiled(image), net(image))
