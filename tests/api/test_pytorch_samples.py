"""PyTorch's own samples for conv2d and Conv2d, run through torchconv.

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

OP = next(op for op in invocations.op_db if op.name == "nn.functional.conv2d")
MODULE = next(info for info in modules.module_db if info.module_cls is torch.nn.Conv2d)


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


def samples(dtype):
    # The generator yields the same samples each time only if the seed is the same.
    torch.manual_seed(7)
    return list(OP.sample_inputs("cpu", dtype, requires_grad=True))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples(dtype):
    assert len(samples(dtype)) >= 20
    for sample in samples(dtype):
        actual = results(torchconv.conv2d, sample, dtype)
        aten = results(F.conv2d, sample, dtype)
        exact = results(F.conv2d, run_in_double(sample), dtype)
        for ours, theirs, wanted in zip(actual, aten, exact, strict=True):
            assert_all_near(ours, [tensor.to(dtype) for tensor in wanted])
            assert_all_near(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.complex128], ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_of_other_dtypes(dtype):
    for sample in OP.sample_inputs("cpu", dtype):
        actual = torchconv.conv2d(sample.input, *sample.args, **sample.kwargs)
        assert torch.equal(actual, F.conv2d(sample.input, *sample.args, **sample.kwargs))


def test_op_error_inputs():
    errors = list(OP.error_inputs("cpu"))
    assert len(errors) >= 10
    for error in errors:
        sample = error.sample_input
        arguments = (sample.input, *sample.args)
        expected, _ = outcome(F.conv2d, *arguments, **sample.kwargs)
        assert expected is error.error_type
        with pytest.raises(error.error_type, match=error.error_regex):
            torchconv.conv2d(*arguments, **sample.kwargs)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("variant", ["contiguous", "noncontiguous", "lazily negated"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_in_other_forms(dtype, variant):
    for sample in samples(dtype):
        expected = torchconv.conv2d(sample.input, *sample.args, **sample.kwargs)
        if variant == "noncontiguous":
            sample = sample.noncontiguous()
        elif variant == "lazily negated":
            sample.input = torch._neg_view(-sample.input.detach())
            assert sample.input.is_neg()
        output = torchconv.conv2d(sample.input, *sample.args, **sample.kwargs)
        assert torch.equal(output, expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_op_samples_in_inference_and_forward_mode(dtype):
    for sample in samples(dtype):
        tensors = [tensor.detach() for tensor in tensors_of(sample)]
        moves = tuple(tensors), tuple(torch.randn_like(tensor) for tensor in tensors)
        actual = torch.func.jvp(partial(torchconv.conv2d, **sample.kwargs), *moves)
        expected = torch.func.jvp(partial(F.conv2d, **sample.kwargs), *moves)
        assert_all_near(actual, expected, 3 * TOLERANCE[dtype])
        with torch.inference_mode():
            assert torch.equal(torchconv.conv2d(*tensors, **sample.kwargs), actual[0])


def module_samples(dtype, training):
    return MODULE.module_inputs_func(
        MODULE, device="cpu", dtype=dtype, requires_grad=True, training=training
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_module_samples(dtype, training):
    count = 0
    for sample in module_samples(dtype, training):
        made = sample.constructor_input
        layers = []
        for cls in (torchconv.Conv2d, torch.nn.Conv2d):
            torch.manual_seed(11)
            layer = cls(*made.args, **made.kwargs).to(dtype).train(training)
            layers.append(layer)
        ours, theirs = layers
        assert repr(ours) == repr(theirs)
        outputs = []
        for layer in layers:
            call = sample.forward_input
            output = layer(*call.args, **call.kwargs)
            inputs = [arg for arg in call.args if isinstance(arg, torch.Tensor)]
            wanted = [*inputs, *layer.parameters()]
            outputs.append(derivatives(output, wanted, dtype))
            if sample.reference_fn is not None:
                assert_near(output, sample.reference_fn(layer, *call.args))
        for ours, theirs in zip(*outputs, strict=True):
            assert_all_near(ours, theirs)
        count += 1
    assert count >= 4
