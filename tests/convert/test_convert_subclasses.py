"""Subclasses: which ``convert`` changes by itself, which have to be registered, and wrappers."""

import copy
import functools

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import torchconv
from tests.compare import assert_near, same_bits
from tests.convert.converting import COPIES, computed_by

each_way = pytest.mark.parametrize("copied", [lambda module: module, *COPIES])


def image():
    return torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(2))


class Built(nn.Conv2d):
    """Only its construction is its own."""

    def __init__(self, channels=4):
        super().__init__(channels, 2 * channels, 3, padding=1)


class Doubling(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Centered(Doubling):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x.abs(), self.weight, self.bias)


def own_convolution(x, weight, bias):
    return F.conv2d(x, weight, bias)


class Partly(nn.Conv2d):
    """Another convolution than that of its base, in some calls."""

    def forward(self, x):
        return super().forward(x) if x.dim() == 3 else own_conv_of(self, x)


def own_conv_of(layer, x):
    return F.conv2d(x, layer.weight, layer.bias)


class OwnConvForward(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight.abs(), bias)


class Wrapped(nn.Conv2d):
    @functools.wraps(nn.Conv2d.forward)
    def forward(self, x):
        return super().forward(x)


class Upsampling(nn.ConvTranspose2d):
    def forward(self, x):
        return super().forward(x) + 1


class BuiltUpsampling(nn.ConvTranspose2d):
    pass


class Blur(nn.Module):
    """No convolution by class."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.ones(4, 1, 5, 5) / 25)

    def forward(self, x, *, scale=1.0):
        return scale * F.conv2d(x, self.kernel, groups=4)


@pytest.mark.parametrize(
    "make", [Built, *(functools.partial(kind, 4, 8, 3) for kind in (Doubling, Centered))]
)
@each_way
def test_subclasses_that_leave_the_convolution_to_conv_forward(make, copied):
    reference = make()
    converted = copied(torchconv.convert(copy.deepcopy(reference)))
    assert type(converted) is type(reference) and torchconv.is_converted(converted)
    assert computed_by(converted, image()) == "torchconv"
    assert_near(converted(image()), reference(image()))


def test_transposed_subclasses_that_only_differ_in_construction():
    converted = torchconv.convert(BuiltUpsampling(4, 8, 3))
    assert computed_by(converted, image()) == "torchconv"


@pytest.mark.parametrize("kind", [OwnForward, Partly, OwnConvForward, Wrapped, Upsampling])
def test_other_subclasses_are_left_alone(kind):
    layer = kind(4, 8, 3)
    before, expected = dict(vars(layer)), layer(image())
    with pytest.warns(UserWarning, match=f"{kind.__name__} has a forward of its own; .*register"):
        torchconv.convert(layer)
    assert vars(layer) == before and not torchconv.is_converted(layer)
    assert computed_by(layer, image()) == "PyTorch" and torch.equal(layer(image()), expected)


def test_other_dimensions_are_left_alone():
    model = nn.Sequential(nn.ConvTranspose3d(1, 1, 1), nn.ConvTranspose3d(1, 1, 1))
    with pytest.warns(UserWarning, match="no counterpart of ConvTranspose3d"):
        torchconv.convert(model)
    assert not any(map(torchconv.is_converted, model))


def registered(kind, forward=None):
    """A class like ``kind``, so that tests do not see what others register."""
    name = f"{kind.__name__}_{len(globals())}"
    own = type(name, (kind,), {"__module__": __name__, "__qualname__": name})
    globals()[name] = own  # where pickle finds it
    assert torchconv.register(own, forward) is own
    return own


@pytest.mark.parametrize("kind", [OwnForward, Partly, OwnConvForward, Wrapped, Upsampling, Blur])
@each_way
def test_registered_classes_run_their_own_code(kind, copied):
    kind = registered(kind)
    reference = kind() if issubclass(kind, Blur) else kind(4, 8, 3)
    converted = copied(torchconv.convert(copy.deepcopy(reference)))
    assert type(converted) is kind and torchconv.is_converted(converted)
    assert computed_by(converted, image()) == "torchconv"
    assert computed_by(reference, image()) == "PyTorch"
    assert_near(converted(image()), reference(image()))
    derived = type("Derived", (kind,), {"forward": lambda self, x: kind.forward(self, x) + 1})
    layer = derived() if issubclass(kind, Blur) else derived(4, 8, 3)
    assert computed_by(torchconv.convert(layer), image()) == "torchconv"


def test_arguments_of_a_registered_forward_are_passed_on():
    layer = registered(Blur)()
    expected = layer(image(), scale=3.0)
    assert_near(torchconv.convert(layer)(image(), scale=3.0), expected)


def absolute(layer, x):
    return torchconv.conv2d(x.abs(), layer.weight, layer.bias)


@each_way
def test_registered_functions(copied):
    kind = registered(OwnForward, absolute)
    layer = copied(torchconv.convert(kind(4, 8, 3)))
    expected = absolute(layer, image())
    assert same_bits(layer(image()), expected)
    torchconv.register(kind, lambda layer, x: x)  # converted ones keep theirs
    assert same_bits(layer(image()), expected)
    assert torch.equal(torchconv.convert(kind(4, 8, 3))(image()), image())
    # Of a subclass with another forward it does not know what to do.
    derived = type("Derived", (kind,), {"forward": lambda self, x: F.conv2d(x, self.weight)})
    with pytest.warns(UserWarning, match="Derived has a forward of its own"):
        torchconv.convert(derived(4, 8, 3))


def test_classes_can_be_registered_by_name():
    kind = type("Named", (OwnForward,), {"__module__": "somewhere.else"})
    torchconv.register("somewhere.else.Named")
    assert computed_by(torchconv.convert(kind(4, 8, 3)), image()) == "torchconv"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, "kind must be a class of modules or its name, but got 3"),
        ((int,), TypeError, "kind must be a class of modules"),
        ((OwnForward, 3), TypeError, "forward must be callable or None, but got 3"),
        ((nn.Conv2d,), ValueError, "computes torch.nn.modules.conv.Conv2d without that"),
        ((nn.LazyConv1d,), ValueError, "without that"),
        ((torchconv.ConvActivation2d,), ValueError, "without that"),
    ],
    ids=str,
)
def test_what_cannot_be_registered(arguments, error, message):
    with pytest.raises(error, match=message):
        torchconv.register(*arguments)


TIMM = ["Conv2dSame", "StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"]


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.filterwarnings("ignore")
def test_classes_of_timm(name):
    layers = pytest.importorskip("timm.layers")
    reference = getattr(layers, name)(4, 8, 3, stride=2)
    converted = torchconv.convert(copy.deepcopy(reference))
    for each in (converted, *(copied(converted) for copied in COPIES)):
        assert type(each) is type(reference) and computed_by(each, image()) == "torchconv"
        assert_near(each(image()), reference(image()))
    results = []
    for each in (converted, reference):
        each(image()).square().sum().backward()
        results.append(each.weight.grad)
    assert_near(*results)

    def backend(graph, inputs):
        assert computed_by(graph, *inputs) == "torchconv"
        return graph

    compiled = torch.compile(nn.Sequential(converted), fullgraph=True, backend=backend)
    assert torch.equal(compiled(image()), converted(image()))
    exported = torch.export.export(nn.Sequential(converted), (image(),)).module()
    assert computed_by(exported, image()) == "torchconv"
    assert_near(torch.jit.script(converted)(image()), reference(image()))


def test_a_network_of_timm():
    timm = pytest.importorskip("timm")
    reference = timm.create_model("tf_efficientnet_b0.in1k", num_classes=3).eval()
    converted = torchconv.convert(reference, inplace=False)
    assert any(type(layer).__name__ == "Conv2dSame" for layer in converted.modules())
    for name, layer in converted.named_modules():
        assert torchconv.is_converted(layer) == isinstance(layer, nn.Conv2d), name
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert computed_by(converted, x) == "torchconv"
        assert_near(converted(x), reference(x), 1e-4)


def test_parts_of_torchvision():
    misc = pytest.importorskip("torchvision.ops.misc")
    block = torchconv.convert(misc.Conv2dNormActivation(4, 8))
    assert computed_by(block, image()) == "torchconv"


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    file = tmp_path_factory.mktemp("store") / "store"
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield dist.device_mesh.init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("first", ["convert", "shard"])
@pytest.mark.parametrize("name", ["Conv1d", "Conv2d", "ConvTranspose2d"])
def test_sharded_layers(name, first, one_process):
    from torch.distributed.fsdp import fully_shard

    reference = nn.Sequential(getattr(nn, name)(4, 8, 3), nn.ReLU())
    model, input = copy.deepcopy(reference), image() if "2d" in name else image()[..., 0]
    if first == "convert":
        torchconv.convert(model)
    fully_shard(model[0], mesh=one_process)
    fully_shard(model, mesh=one_process)
    if first == "shard":
        torchconv.convert(model)
    assert torchconv.is_converted(model[0])
    found = []
    for each in (model, reference):
        output = each(input)
        output.sum().backward()
        gradient = each[0].weight.grad
        found.append((output, getattr(gradient, "full_tensor", lambda g=gradient: g)()))
    for ours, theirs in zip(*found, strict=True):
        assert_near(ours, theirs)
    assert model(input).grad_fn is not None and _uses_torchconv(model, input)


def _uses_torchconv(model, input):
    """Sharded models run under dispatch of their own: ask the profiler."""
    with torch.profiler.profile() as profile:
        model(input)
    return any(event.name.startswith("torchconv::") for event in profile.events())
