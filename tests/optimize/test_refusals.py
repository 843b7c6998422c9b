"""What must not be fused is not, the result stays right, and the report says why."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

import torchconv
from tests.compare import assert_near
from tests.optimize.models import (
    Code,
    assert_optimised,
    done,
    image,
    in_float64,
    randomised,
    reason,
)


def conv_norm_act(self, x):
    return self.act(self.norm(self.conv(x)))


def assert_left(model, why, name="conv", fused=()):
    optimised = assert_optimised(model, image())
    assert done(optimised)[name] == list(fused)
    assert why in reason(optimised, name)
    return optimised


HOOKS = {
    "forward": lambda m, f: m.register_forward_hook(lambda *_: f()),
    "forward with kwargs": lambda m, f: m.register_forward_hook(lambda *_: f(), with_kwargs=True),
    "pre": lambda m, f: m.register_forward_pre_hook(lambda *_: f()),
    "pre with kwargs": lambda m, f: m.register_forward_pre_hook(lambda *_: f(), with_kwargs=True),
}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
@pytest.mark.parametrize(("part", "fused"), [("conv", []), ("norm", []), ("act", ["BatchNorm"])])
def test_hooks(part, fused, hook):
    calls = []
    model = Code(conv_norm_act)
    hook(getattr(model, part), lambda: calls.append(part))
    optimised = assert_left(model, "has hooks", fused=fused)
    calls.clear()
    optimised(image())
    assert calls == [part]


@pytest.mark.parametrize("name", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_backward_hooks(name):
    model = Code(conv_norm_act)
    calls = []
    getattr(model.norm, name)(lambda *_: calls.append(1))
    optimised = assert_left(model, "has hooks")
    calls.clear()
    optimised(image().requires_grad_()).sum().backward()
    assert calls == [1]


def test_a_container_with_hooks_is_optimised_inside_and_keeps_them():
    inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    shapes = []
    inner.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), inner, nn.ReLU())
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": [], "1.0": ["BatchNorm"]}
    shapes.clear()
    optimised(image())
    assert len(shapes) == 1 and type(optimised[2]) is nn.ReLU


def test_a_block_with_hooks_keeps_them_when_its_code_changes():
    model = nn.Sequential(Code(lambda self, x: torch.relu(self.norm(self.conv(x)) + x)))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    assert done(assert_optimised(model, image()))["0.conv"] == ["BatchNorm", "residual", "relu"]


def test_hooks_of_all_modules():
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: calls.append(type(m)))
    try:
        optimised = torchconv.optimize(randomised(Code(conv_norm_act)))
        optimised(image())
    finally:
        handle.remove()
    assert nn.BatchNorm2d in calls and "hooks of all modules" in reason(optimised, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (parametrizations.weight_norm, "parametrizations"),
        (parametrizations.spectral_norm, "parametrizations"),
        (spectral_norm, "hooks"),
        (lambda conv: prune.l1_unstructured(conv, "weight", 0.5), "hooks"),
    ],
    ids=["weight_norm", "spectral_norm", "old spectral_norm", "prune"],
)
def test_changed_weights(change, why):
    model = Code(conv_norm_act)
    change(model.conv)
    if hasattr(model.conv, "weight_orig"):
        model.conv.weight = model.conv.weight.detach()  # or it could not be copied
    model = randomised(model)
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert done(optimised)["conv"] == [] and why in reason(optimised, "conv")
    assert torchconv.is_converted(optimised.conv)


def test_replaced_forward():
    model = randomised(Code(conv_norm_act))
    model.norm.forward = functools.partial(F.relu)
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert "replaced" in reason(optimised, "conv") and type(optimised.norm) is nn.BatchNorm2d

    model = randomised(Code(conv_norm_act))
    model.conv._conv_forward = lambda x, w, b: F.conv2d(x, w, b, padding=1) * 2
    optimised = torchconv.optimize(model)
    assert_near(optimised(image()), model(image()))
    assert "replaced" in reason(optimised, "conv") and not torchconv.is_converted(optimised.conv)

    model = randomised(Code(conv_norm_act))
    model.forward = lambda x: x + 1
    optimised = torchconv.optimize(model)
    assert torch.equal(optimised(image()), image() + 1)


def test_subclasses():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    class Shifted(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1

    model = Code(conv_norm_act)
    model.conv = Scaled(3, 3, 1)
    optimised = assert_left(model, "subclass")
    assert type(optimised.conv) is Scaled
    model = Code(conv_norm_act)
    model.norm = Shifted(3)
    assert done(assert_optimised(model, image()))["conv"] == []


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.norm(y := self.conv(x)) + y,
        lambda self, x: (y := self.conv(x), F.relu(self.norm(y)))[1] * y.mean(),
    ],
)
def test_a_result_that_is_used_twice(function):
    assert_left(Code(function), "used in 2 places")


def test_a_norm_whose_result_is_used_twice_is_folded_and_no_more():
    model = Code(lambda self, x: self.act(y := self.norm(self.conv(x))) + y)
    assert_left(model, "used in 2 places", fused=["BatchNorm"])


def test_layers_that_are_called_twice():
    assert_left(
        Code(lambda self, x: self.act(self.norm(self.conv(self.conv(x))))), "called 2 times"
    )
    model = Code(lambda self, x: self.norm(self.conv(x)) + self.norm(self.other(x)))
    optimised = assert_left(model, "called 2 times")
    assert type(optimised.norm) is nn.BatchNorm2d


def test_an_activation_that_is_called_twice_is_fused_in_both():
    model = Code(lambda self, x: self.act(self.other(self.act(self.norm(self.conv(x))))))
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"conv": ["BatchNorm", "relu"], "other": ["relu"], "third": []}
    assert type(optimised) is Code

    model = Code(lambda self, x: self.act(x - self.act(self.norm(self.conv(x)))))
    optimised = assert_optimised(model, image())
    assert done(optimised)["conv"] == ["BatchNorm", "relu"] and type(optimised.act) is nn.ReLU


def test_weights_that_are_shared_are_folded_separately():
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    )
    model[2].weight = model[0].weight
    optimised = assert_optimised(model, image())
    assert done(optimised) == {"0": ["BatchNorm"], "2": ["BatchNorm"]}
    assert optimised[2].weight is not optimised[0].weight


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: conv_norm_act(self, x) + self.conv.weight.mean(),
        lambda self, x: conv_norm_act(self, x) + self.norm.running_mean[0],
        lambda self, x: conv_norm_act(self, x) + self.conv.forward(x),
    ],
)
def test_parameters_that_are_used_directly(function):
    assert_left(Code(function), "used directly")


def test_tied_parameters_that_are_used_directly():
    model = Code(lambda self, x: conv_norm_act(self, x) + self.first.mean())
    model.first = model.conv.weight
    assert_left(model, "used directly")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda norm: None, "has 4 channels"),
        (lambda norm: norm.__init__(3, track_running_stats=False), "track_running_stats"),
    ],
)
def test_norms_without_statistics(change, why):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(4)).eval()
    change(model[1])
    model.eval()
    optimised = torchconv.optimize(model)
    assert done(optimised)["0"] == [] and why in reason(optimised, "0")
    assert type(optimised[1]) is nn.BatchNorm2d


def test_norms_that_lost_their_statistics():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[1].running_mean = model[1].running_var = None
    assert_left(model, "no running statistics", name="0")


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_padding_modes_are_kept(mode):
    model = Code(conv_norm_act)
    model.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode=mode)
    optimised = assert_left(model, "padding_mode", fused=["BatchNorm"])
    assert (optimised.conv.padding_mode, optimised.conv.activation) == (mode, None)


def change_input(self, x):
    x = x * 1
    y = self.conv(x)
    x.mul_(2)
    return y + x


def change_view(self, x):
    x = x * 1
    y = self.conv(x)
    x.view(2, -1).add_(1)
    return y + x


def change_in_place_module(self, x):
    x = x * 1
    y = self.conv(x)
    return y + F.relu(x, inplace=True)


def change_by_operator(self, x):
    x = x * 1
    z = x.flatten(1)
    y = self.conv(x)
    z -= 1
    return y + x


def change_argument(self, x):
    y = self.conv(x)
    x[:, 0].zero_()
    return y + x


@pytest.mark.parametrize(
    "function",
    [change_input, change_view, change_in_place_module, change_by_operator, change_argument],
)
def test_an_input_that_changes_before_the_addition(function):
    model = randomised(Code(function))
    expected = in_float64(model, image())
    optimised = torchconv.optimize(model)
    with torch.no_grad():
        assert_near(optimised(image()).double(), expected, 1e-5)
    assert done(optimised)["conv"] == [] and "may change" in reason(optimised, "conv")


def test_an_input_that_changes_between_padding_and_convolution():
    def function(self, x):
        x = x * 1
        y = F.pad(x, (1, 1, 1, 1))
        x.zero_()
        return self.conv(y)

    assert done(assert_optimised(Code(function), image()))["conv"] == []


@pytest.mark.parametrize("add", [lambda x, y: x.add_(y), lambda x, y: torch.Tensor.add_(x, y)])
def test_an_addition_to_the_residual_in_place(add):
    """Another name of the residual sees the sum."""

    def function(self, x):
        kept = x * 1
        other = kept.view_as(kept)
        return add(kept, self.conv(x)) * other

    assert done(assert_optimised(Code(function), image()))["conv"] == []


def test_plus_equals_changes_the_caller_of_a_block():
    def function(self, x):
        x += self.norm(self.conv(x))
        return self.act(x)

    model = randomised(nn.Sequential(Code(function)))
    optimised = torchconv.optimize(model)
    given, expected = image(), image()
    with torch.no_grad():
        assert_near(optimised(given), model(expected), 1e-5)
    assert_near(given, expected, 1e-5)  # both have the sum now
    assert done(optimised)["0.conv"] == ["BatchNorm"]


def test_a_layer_that_the_model_refers_to_from_two_places():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.first = self.block[0]
            self.kept = [self.block[1]]

        def forward(self, x, also=None):
            return self.block(x) if also is None else self.kept[0](self.first(x)) + self.first(also)

    model = randomised(Twice())
    optimised = torchconv.optimize(model)
    assert optimised.first is optimised.block[0]
    for arguments in [(image(),), (image(), image(seed=5))]:
        with torch.no_grad():
            assert_near(optimised(*arguments), model(*arguments))
    assert "other parts of the model" in reason(optimised, "block.0")


def test_a_layer_in_a_list_outside_of_the_traced_code():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.layers = [self.block[0]]

        def forward(self, x, again=False):
            return self.block(x) + (self.layers[0](x) if again else 0)

    model = randomised(Listed())
    optimised = torchconv.optimize(model)
    with torch.no_grad():
        assert_near(optimised(image(), True), model(image(), True))
    assert done(optimised) == {"block.0": []}


def test_a_layer_that_code_outside_of_its_block_calls():
    model = Code(lambda self, x: self.block(x) + self.block.conv(x))
    model.block = Code(conv_norm_act)
    assert_left(model, "called 2 times", name="block.conv")


def test_layers_of_a_block_that_only_the_code_around_it_calls():
    model = Code(lambda self, x: self.block.act(self.block.norm(self.block.conv(x))))
    model.block = Code(lambda self, x: F.silu(self.norm(self.conv(x))) + x)
    optimised = assert_optimised(model, image())
    assert done(optimised)["block.conv"] == ["BatchNorm", "relu"]


def test_a_block_whose_methods_untraced_code_calls_keeps_its_code():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def features(self, x):
            return self.conv(x)

        def forward(self, x):
            return torch.relu(self.features(x))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Encoder()

        def forward(self, x, mask=None):
            return self.encoder.features(x) if mask is None else self.encoder(x)

    model = Network().eval()
    optimised = torchconv.optimize(model)
    for mask in (None, 1):
        assert_near(optimised(image(), mask), model(image(), mask))
    assert "Encoder.features" in reason(optimised, "encoder.conv")


def test_a_module_in_training_mode_is_named():
    model = Code(conv_norm_act).eval()
    model.norm.train()
    with pytest.raises(RuntimeError, match=r"its module 'norm' is in training mode.*eval\(\)"):
        torchconv.optimize(model)
    with pytest.raises(RuntimeError, match="it is in training mode"):
        torchconv.optimize(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": torch.int32}, TypeError),
        ({"dtype": "float32"}, TypeError),
        ({"memory_format": "channels_last"}, TypeError),
        ({"memory_format": torch.channels_last_3d}, RuntimeError),
    ],
)
def test_wrong_options(options, error):
    model = Code(conv_norm_act).eval()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error):
        torchconv.optimize(model, inplace=True, **options)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    with pytest.raises(TypeError, match="model must be a Module"):
        torchconv.optimize([model])
