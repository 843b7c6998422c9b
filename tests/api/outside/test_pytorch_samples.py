"""PyTorch's own samples for conv2d, its relatives and their layers, run through torchconv.

The samples (OpInfo, ModuleInfo) are what PyTorch tests its operators with; they come with torch,
in a package without a promise of stability.
"""

from functools import partial
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

import torchconv
from tests.compare import FLOATS, TOLERANCE, assert_all_near, assert_near, outcome

# Importing them would forbid the whole process, every other test too, to set torch.backends.*
with patch.object(torch.backends, "disable_global_flags"):
    invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")
    modules = pytest.importorskip("torch.testing._internal.common_modules")

NAMES = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d")
OPS = {op.name.rpartition(".")[2]: op for op in invocations.op_db if "nn.functional" in op.name}
LAYERS = (
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
)
MODULES = {info.module_cls.__name__: info for info in modules.module_db}

each_op = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)


FEWEST_SAMPLES = dict(conv1d=10, conv2d=20, conv3d=5, conv_transpose1d=5, conv_transpose2d=5)


def tensors_of(sample):
    return [sample.input, *(arg for arg in sample.args if isinstance(arg, torch.Tensor))]


def cotangents(tensors, dtype):
    """Random numbers that are exact in ``dtype``, the same for every call with these shapes."""
    generator = torch.Generator().manual_seed(13)
    return [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(dtype).to(t.dtype)
        for t in tensors
    ]


def derivatives(output, tensors, dtype):
    """The output, its gradients, and the gradients of those, each against fixed cotangents.

    ``tensors`` are input, weight and perhaps bias, on which the gradients do not depend.
    """
    (grad,) = cotangents([output], dtype)
    grad.requires_grad_()
    first = torch.autograd.grad(output, tensors, grad, create_graph=True)
    second = torch.autograd.grad(first, [grad, *tensors[:2]], cotangents(first, dtype))
    return [output], first, second


def results(function, sample, dtype):
    output = function(sample.input, *sample.args, **sample.kwargs)
    return derivatives(output, tensors_of(sample), dtype)


def run_in_double(sample):
    return sample.transform(
        lambda x: x.detach().double().requires_grad_() if isinstance(x, torch.Tensor) else x
    )


def samples(name, dtype):
    # The generator yields the same samples each time only if the seed is the same.
    torch.manual_seed(7)
    return list(OPS[name].sample_inputs("cpu", dtype, requires_grad=True))


@each_op
@each_dtype
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples(name, dtype):
    ours_function, function = getattr(torchconv, name), getattr(F, name)
    assert len(samples(name, dtype)) >= FEWEST_SAMPLES[name]
    for sample in samples(name, dtype):
        actual = results(ours_function, sample, dtype)
        aten = results(function, sample, dtype)
        exact = results(function, run_in_double(sample), dtype)
        for ours, theirs, wanted in zip(actual, aten, exact, strict=True):
            assert_all_near(ours, [tensor.to(dtype) for tensor in wanted])
            assert_all_near(ours, theirs)


@each_op
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_of_other_dtypes(name, dtype):
    for sample in OPS[name].sample_inputs("cpu", dtype):
        arguments = (sample.input, *sample.args)
        actual = getattr(torchconv, name)(*arguments, **sample.kwargs)
        assert torch.equal(actual, getattr(F, name)(*arguments, **sample.kwargs))


@pytest.mark.parametrize("name", ["conv1d", "conv2d"])  # PyTorch has none for the others
def test_op_error_inputs(name):
    errors = list(OPS[name].error_inputs("cpu"))
    assert len(errors) >= 10
    for error in errors:
        sample = error.sample_input
        arguments = (sample.input, *sample.args)
        expected, _ = outcome(getattr(F, name), *arguments, **sample.kwargs)
        assert expected is error.error_type
        with pytest.raises(error.error_type, match=error.error_regex):
            getattr(torchconv, name)(*arguments, **sample.kwargs)


@each_op
@each_dtype
@pytest.mark.parametrize("variant", ["contiguous", "noncontiguous", "lazily negated"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_in_other_forms(name, dtype, variant):
    function = getattr(torchconv, name)
    for sample in samples(name, dtype):
        expected = function(sample.input, *sample.args, **sample.kwargs)
        if variant == "noncontiguous":
            sample = sample.noncontiguous()
        elif variant == "lazily negated":
            sample.input = torch._neg_view(-sample.input.detach())
            assert sample.input.is_neg()
        output = function(sample.input, *sample.args, **sample.kwargs)
        assert torch.equal(output, expected)


@each_op
@each_dtype
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_in_inference_and_forward_mode(name, dtype):
    ours, theirs = getattr(torchconv, name), getattr(F, name)
    for sample in samples(name, dtype):
        tensors = [tensor.detach() for tensor in tensors_of(sample)]
        moves = tuple(tensors), tuple(torch.randn_like(tensor) for tensor in tensors)
        actual = torch.func.jvp(partial(ours, **sample.kwargs), *moves)
        expected = torch.func.jvp(partial(theirs, **sample.kwargs), *moves)
        assert_all_near(actual, expected, 3 * TOLERANCE[dtype])
        with torch.inference_mode():
            assert torch.equal(ours(*tensors, **sample.kwargs), actual[0])


def module_samples(name, dtype, training):
    info = MODULES[name]
    return info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training
    )


@pytest.mark.parametrize("name", LAYERS)
@each_dtype
@pytest.mark.parametrize("training", [True, False])
def test_module_samples(name, dtype, training):
    count = 0
    for sample in module_samples(name, dtype, training):
        made = sample.constructor_input
        layers = []
        for package in (torchconv, torch.nn):
            layer = getattr(package, name)(*made.args, **made.kwargs).to(dtype).train(training)
            layers.append(layer)
        ours, theirs = layers
        assert repr(ours) == repr(theirs)
        outputs = []
        for layer in layers:
            call = sample.forward_input
            torch.manual_seed(11)
            if hasattr(layer, "initialize_parameters"):
                layer.initialize_parameters(*call.args)
            else:
                layer.reset_parameters()
            output = layer(*call.args, **call.kwargs)
            inputs = [arg for arg in call.args if isinstance(arg, torch.Tensor)]
            wanted = [*inputs, *layer.parameters()]
            outputs.append(derivatives(output, wanted, dtype))
            if sample.reference_fn is not None:
                assert_near(output, sample.reference_fn(layer, *call.args))
        for ours, theirs in zip(*outputs, strict=True):
            assert_all_near(ours, theirs)
        count += 1
    assert count >= (2 if "Transpose" in name else 4)
