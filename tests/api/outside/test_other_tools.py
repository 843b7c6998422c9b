"""Tools that know layers by exact type treat a model of torchconv as one of ``nn.Conv2d``."""

import copy
import io
import sys
import types
from contextlib import redirect_stdout

import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_all_near, assert_near
from torchconv._integrations import imports, tools

pytestmark = pytest.mark.filterwarnings("ignore")
SHAPE = (3, 8, 8)


def network(conv, norm=False):
    torch.manual_seed(1)
    body = [conv(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 6, (3, 2), 2, groups=2)]
    if not norm:
        del body[1]
    return nn.Sequential(*body, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 3 * 4, 5))


BUILDERS = {
    "built": lambda **options: network(torchconv.Conv2d, **options),
    "converted": lambda **options: torchconv.convert(network(nn.Conv2d, **options)),
    "built and converted": lambda **options: torchconv.convert(
        network(torchconv.Conv2d, **options)
    ),
}
any_model = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
converted_model = pytest.mark.parametrize(
    "build", list(BUILDERS.values())[1:], ids=list(BUILDERS)[1:]
)


def images(n=4):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(2))


def convolutions(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]


def thop(model):
    profile = pytest.importorskip("thop").profile
    return profile(model, (images(),), verbose=False)


def ptflops(backend):
    def count(model):
        tool = pytest.importorskip("ptflops")
        return tool.get_model_complexity_info(
            model, SHAPE, as_strings=False, print_per_layer_stat=False, backend=backend
        )

    return count


def torch_pruning(model):
    return pytest.importorskip("torch_pruning").utils.count_ops_and_params(model, images())


def fvcore(model):
    count = pytest.importorskip("fvcore.nn").FlopCountAnalysis(model, images())
    count.unsupported_ops_warnings(False)
    return count.by_module(), count.by_operator()


def torchinfo(model):
    return str(pytest.importorskip("torchinfo").summary(model, input_data=images(), verbose=0))


COUNTS = {
    "thop": thop,
    "ptflops": ptflops("pytorch"),
    "ptflops by operator": ptflops("aten"),
    "torch_pruning": torch_pruning,
    "fvcore": fvcore,
    "torchinfo": torchinfo,
}


@any_model
@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_operations_are_counted(count, build):
    with redirect_stdout(io.StringIO()):
        assert count(build()) == count(network(nn.Conv2d))


def relatives(package):
    """Sequences that become images and grow; without the biases, which PyTorch adds elsewhere."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(2),
        package.Conv1d(3, 4, 5, padding=2),
        package.ConvTranspose1d(4, 4, 4, stride=2, padding=1, bias=False),
        nn.Unflatten(2, (16, 8)),
        package.ConvTranspose2d(4, 2, 2, stride=2, groups=2, bias=False),
    )


@pytest.mark.parametrize("count", COUNTS.values(), ids=COUNTS)
def test_operations_of_relatives_are_counted(count):
    with redirect_stdout(io.StringIO()):
        assert count(relatives(torchconv)) == count(relatives(nn))


def test_another_version_of_a_counting_tool_can_be_imported():
    with pytest.warns(UserWarning, match="thop.profile has changed"):
        tools._or_warn(tools._thop)(types.ModuleType("thop.profile"))


def test_tools_may_be_imported_before_or_after(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = "a_tool_that_torchconv_tells"
    (tmp_path / f"{name}.py").write_text("known = {}\n")
    seen = []
    imports.when_imported(name, lambda module: seen.append(module.known))
    assert name not in sys.modules and not seen
    module = __import__(name)
    assert seen == [module.known] and module.__spec__.origin == str(tmp_path / f"{name}.py")
    imports.when_imported(name, lambda module: seen.append("at once"))
    assert seen[1:] == ["at once"]
    monkeypatch.delitem(sys.modules, name)
    assert __import__(name) is not module and len(seen) == 2


@converted_model
def test_backpack(build):
    backpack = pytest.importorskip("backpack")
    from backpack.extensions import BatchGrad, DiagGGNExact

    results = []
    for model in (build(), network(nn.Conv2d)):
        model, loss = backpack.extend(model), backpack.extend(nn.CrossEntropyLoss())
        with backpack.backpack(BatchGrad(), DiagGGNExact()):
            loss(model(images()), torch.arange(4)).backward()
        results.append([(p.grad_batch, p.diag_ggn_exact) for p in model.parameters()])
    for actual, expected in zip(*results, strict=True):
        assert_all_near(actual, expected)


@any_model
def test_opacus(build):
    wrap = pytest.importorskip("opacus").GradSampleModule
    results = []
    for model in (build(), network(nn.Conv2d)):
        model = wrap(model)
        model(images()).square().sum().backward()
        results.append([parameter.grad_sample for parameter in model.parameters()])
        assert not any(hasattr(m, "ft_compute_sample_grad") for m in convolutions(model))
    assert_all_near(*results)


@converted_model
def test_torch_pruning(build):
    tool = pytest.importorskip("torch_pruning")
    results = []
    for model in (build(norm=True), network(nn.Conv2d, norm=True)):
        tool.pruner.MagnitudePruner(
            model, images(), tool.importance.MagnitudeImportance(), pruning_ratio=0.5,
            ignored_layers=[model[-1]],
        ).step()  # fmt: skip
        results.append((model(images()), *model.parameters()))
    assert results[0][1].shape == (4, 3, 3, 3)
    assert_all_near(*results)


@any_model
@pytest.mark.parametrize("method", ["IntegratedGradients", "DeepLift", "GuidedBackprop"])
def test_captum(method, build):
    method = getattr(pytest.importorskip("captum.attr"), method)
    actual, expected = (
        method(model).attribute(images(), target=1) for model in (build(), network(nn.Conv2d))
    )
    assert_near(actual, expected, 1e-4)


def test_captum_rules_by_type():
    attribution = pytest.importorskip("captum.attr")
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 8)]
    model = nn.Sequential(*layers)
    expected = attribution.LRP(copy.deepcopy(model)).attribute(images(), target=(1, 0, 0))
    actual = attribution.LRP(torchconv.convert(model)).attribute(images(), target=(1, 0, 0))
    assert_near(actual, expected, 1e-4)


@pytest.mark.parametrize("options", [{}, {"features_only": True}, {"feature_cls": "fx"}], ids=str)
def test_timm(options):
    if "feature_cls" in options:
        options = dict(features_only=True, feature_cfg=options)
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_efficientnet", pretrained=False, **options).eval()
    expected, actual = model(images()), torchconv.convert(model)(images())
    assert sum(map(torchconv.is_converted, convolutions(model))) > 5
    assert_all_near(actual, expected, 1e-4)


@converted_model
@pytest.mark.parametrize("training", [False, True])
def test_eager_quantization(training, build):
    quantization = pytest.importorskip("torch.ao.quantization")
    fuse = quantization.fuse_modules_qat if training else quantization.fuse_modules
    prepare = quantization.prepare_qat if training else quantization.prepare
    outputs = []
    for model in (build(norm=True), network(nn.Conv2d, norm=True)):
        fused = fuse(model.train(training), [["0", "1", "2"], ["3", "4"]])
        stubs = quantization.QuantStub(), quantization.DeQuantStub()
        whole = nn.Sequential(stubs[0], fused, stubs[1]).train(training)
        whole.qconfig = quantization.default_qconfig
        if training:
            whole.qconfig = quantization.get_default_qat_qconfig("fbgemm")
        prepared = prepare(whole)
        prepared(images())
        quantized = quantization.convert(prepared.eval())
        names = [type(quantized[1][i]).__module__ for i in (0, 3)]
        assert all("quantized" in name for name in names)
        outputs.append(quantized(images()))
    assert_near(*outputs, 0.05)  # a value next to the border of two steps may fall on either side


@converted_model
def test_fx_graph_quantization(build):
    quantization = pytest.importorskip("torch.ao.quantization")
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    outputs, modules = [], []
    for model in (build(norm=True), network(nn.Conv2d, norm=True)):
        mapping = quantization.get_default_qconfig_mapping("fbgemm")
        prepared = prepare_fx(model.eval(), mapping, (images(),))
        prepared(images())
        quantized = convert_fx(prepared)
        outputs.append(quantized(images()))
        modules.append({name: type(module) for name, module in quantized.named_modules() if name})
    assert modules[0] == modules[1]
    assert_near(*outputs, 0.05)


@converted_model
def test_fx_folds_batch_normalisation(build):
    from torch.fx.experimental.optimization import fuse

    model = build(norm=True).eval()
    fused = fuse(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    assert all(map(torchconv.is_converted, convolutions(fused)))
    assert_near(fused(images()), network(nn.Conv2d, norm=True).eval()(images()))
