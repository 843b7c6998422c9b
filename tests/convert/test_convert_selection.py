"""``include``, ``exclude`` and ``inplace`` of convert, and its warnings."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import torchconv


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Conv2d(8, 8, 1)) for _ in range(2)))
        self.layers[1].append(nn.ConvTranspose2d(8, 8, 2))
        self.again = self.stem
        self.head = nn.Conv1d(8, 8, 1)


ALL = {"stem", "layers.0.0", "layers.1.0", "layers.1.1", "head"}


def is_pointwise(_, layer):
    return set(layer.kernel_size) == {1}  # which other modules do not have


def converted(model):
    return {name for name, module in model.named_modules() if torchconv.is_converted(module)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, ALL),
        ("*", ALL),
        ("stem", {"stem"}),
        ("again", {"stem"}),
        ("layers", {"layers.0.0", "layers.1.0", "layers.1.1"}),
        ("layers.1.*", {"layers.1.0", "layers.1.1"}),
        ("*.[1-9]", {"layers.1.0", "layers.1.1"}),
        (["stem", "head"], {"stem", "head"}),
        (nn.Conv1d, {"head"}),
        (nn.Sequential, {"layers.0.0", "layers.1.0", "layers.1.1"}),
        (is_pointwise, {"layers.0.0", "layers.1.0", "head"}),
        (lambda name, _: name == "again", {"stem"}),
        (("head", nn.ConvTranspose2d, is_pointwise), ALL - {"stem"}),
        ([], set()),
    ],
)
@pytest.mark.filterwarnings("ignore:convert... nothing was converted")
def test_include_and_exclude(rules, expected):
    assert converted(torchconv.convert(Net(), include=rules)) == expected
    if rules is not None:
        assert converted(torchconv.convert(Net(), exclude=rules)) == ALL - expected
    both = torchconv.convert(Net(), include=rules, exclude="layers.1")
    assert converted(both) == expected - {"layers.1.0", "layers.1.1"}


def test_a_layer_by_itself_has_an_empty_name():
    assert torchconv.is_converted(torchconv.convert(nn.Conv2d(1, 1, 1), include=["", "*"]))


def test_what_is_converted_stays_converted():
    model = torchconv.convert(Net())
    assert converted(torchconv.convert(model, include="head", exclude="stem")) == ALL


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize("rules", [5, int, ["stem", 5], [["stem"]], {"stem"}], ids=str)
def test_other_rules_are_refused(argument, rules):
    model = Net()
    with pytest.raises(TypeError, match=f"convert.*: {argument} must be a pattern of names"):
        torchconv.convert(model, **{argument: rules})
    assert not converted(model)


@pytest.mark.parametrize("argument", ["include", "exclude"])
def test_a_pattern_of_no_module_is_a_warning(argument):
    with pytest.warns(UserWarning, match=f"matches {argument}='layer.0'") as caught:
        torchconv.convert(Net(), **{argument: ["stem", "layer.0"]})
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.ReLU(), {}, "the module has no convolution"),
        (Net(), {"include": []}, "include and exclude leave no convolution"),
        (Net(), {"exclude": "*"}, "include and exclude leave no convolution"),
        (
            nn.Sequential(*(nn.ConvTranspose3d(1, 1, 1) for _ in "ab")),
            {},
            r"of ConvTranspose3d \(2 of 2 layers\)",
        ),
    ],
)
def test_nothing_converted_is_a_warning(module, options, message):
    with pytest.warns(UserWarning, match=f"nothing was converted: .*{message}") as caught:
        assert torchconv.convert(module, **options) is module
    assert len(caught) == 1 and caught[0].filename == __file__


def test_otherwise_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = torchconv.convert(Net(), include="stem", exclude=nn.Sequential)
        torchconv.convert(torchconv.convert(model))
        torchconv.convert(nn.Sequential(nn.ConvTranspose3d(1, 1, 1), torchconv.Conv2d(1, 1, 1)))
        torchconv.convert(torchconv.ConvActivation2d(1, 1, 1))


def test_a_copy_is_converted_and_the_model_is_not():
    model = Net()
    changed = torchconv.convert(model, include=["again", "layers"], inplace=False)
    assert converted(changed) == ALL - {"head"} and not converted(model)
    assert changed.again is changed.stem and changed.stem.weight is not model.stem.weight
    assert torch.equal(changed.stem.weight, model.stem.weight)


def test_a_model_that_cannot_be_copied():
    pruned = nn.Sequential(prune.random_unstructured(nn.Conv2d(1, 1, 3), "weight", amount=0.5))
    with pytest.raises(RuntimeError, match="inplace=False needs a copy.*RuntimeError: Only Tens"):
        torchconv.convert(pruned, inplace=False)
    assert not converted(pruned) and converted(torchconv.convert(pruned)) == {"0"}


def test_other_than_modules_are_refused():
    for function in (torchconv.convert, torchconv.revert):
        with pytest.raises(TypeError, match=f"{function.__name__}.*: module must be a Module, but"):
            function(torch.zeros(1))
