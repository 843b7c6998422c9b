"""The ways to run a model that are compared: PyTorch's, those of other runtimes, and torchconv's.

All have the same number of threads, and each gets the images in the memory format that it takes.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor, nn

import torchconv

Call = Callable[[], Tensor]
Build = Callable[[nn.Module, Tensor, torch.dtype], Call]

# Threads of a runtime that wait in a loop once its run is over would be measured with the next.
ONNXRUNTIME = {"session.intra_op.allow_spinning": "1", "session.force_spinning_stop": "1"}
OPENVINO = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
OPENVINO_PRECISION = {torch.float32: "f32", torch.bfloat16: "bf16"}


class LeftOut(Exception):
    """Why a subject does not run here."""


@dataclass(frozen=True)
class Subject:
    name: str
    package: str
    settings: str
    build: Build  # from a model in float32, which it does not change, and its images

    @property
    def about(self) -> str:
        """Release and settings, such as `PyTorch 2.14.1, channels_last`.

        Raises ImportError where it is not installed."""
        release = re.split(r"[+-]", import_module(self.package).__version__)[0]
        return f"{PACKAGES[self.package]} {release}" + f", {self.settings}" * bool(self.settings)


PACKAGES = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torchconv": "torchconv",
}


def _converted(model: nn.Module, images: Tensor, dtype: torch.dtype, nhwc: bool) -> tuple:
    """A copy of the model, and its images, in dtype and memory format."""
    memory_format = torch.channels_last if nhwc else torch.contiguous_format
    model = copy.deepcopy(model).to(dtype).to(memory_format=memory_format)
    return model, images.to(dtype).contiguous(memory_format=memory_format)


def _eager(nhwc: bool) -> Build:
    def build(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
        return _call(*_converted(model, images, dtype, nhwc))

    return build


def _compiled(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    model, images = _converted(model, images, dtype, nhwc=True)
    return _call_compiled(model, images)


def _frozen(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    from torch._inductor import config

    model, images = _converted(model, images, dtype, nhwc=True)
    options = {"freezing": True}
    with config.patch(options):  # which Dynamo reads, too
        return _call_compiled(model, images, options)


def _torchconv(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    model, images = _converted(model, images, dtype, nhwc=True)
    return _call(torchconv.convert(model), images)


def _optimized(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    model, images = _converted(model, images, dtype, nhwc=True)
    return _call(torchconv.optimize(model, images), images)


def _optimized_compiled(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    model, images = _converted(model, images, dtype, nhwc=True)
    return _call_compiled(torchconv.optimize(model, images), images)


def _call(model: nn.Module, images: Tensor) -> Call:
    def call() -> Tensor:
        with torch.inference_mode():
            return model(images)

    call()
    return call


def _call_compiled(model: nn.Module, images: Tensor, options: dict | None = None) -> Call:
    compiled = torch.compile(model, dynamic=False, options=options)

    def call() -> Tensor:
        with torch.no_grad():
            return compiled(images)

    call()
    return call


@functools.lru_cache(maxsize=1)
def _onnx(model: nn.Module, images: Tensor) -> bytes:
    """Both runtimes read the same model, exported once, for batches of this size."""
    program = torch.onnx.export(model, (images,), dynamo=True, verbose=False)
    assert program is not None
    return program.model_proto.SerializeToString()


def _onnxruntime(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    import onnxruntime

    if dtype != torch.float32:
        raise LeftOut("its CPU provider has no convolution in bfloat16")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    for key, value in ONNXRUNTIME.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(
        _onnx(model, images), options, providers=["CPUExecutionProvider"]
    )
    inputs = {session.get_inputs()[0].name: images.numpy()}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


def _openvino(model: nn.Module, images: Tensor, dtype: torch.dtype) -> Call:
    import openvino

    core = openvino.Core()
    if dtype == torch.bfloat16 and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise LeftOut("it has no bfloat16 on this CPU")
    settings = {
        **OPENVINO,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISION[dtype],
    }
    compiled = core.compile_model(core.read_model(_onnx(model, images)), "CPU", settings)
    request, inputs = compiled.create_infer_request(), [images.numpy()]

    def call() -> Tensor:
        outputs = request.infer(inputs, share_inputs=True, share_outputs=True)
        return torch.from_numpy(outputs[0])

    return call


def _listed(settings: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


PEERS = {
    "eager": Subject("PyTorch", "torch", "", _eager(nhwc=False)),
    "eager_nhwc": Subject("PyTorch, channels_last", "torch", "", _eager(nhwc=True)),
    "compile": Subject("torch.compile", "torch", "channels_last", _compiled),
    "freezing": Subject("torch.compile, freezing", "torch", "channels_last, freezing", _frozen),
    "onnxruntime": Subject(
        "ONNX Runtime", "onnxruntime", f"ORT_ENABLE_ALL {_listed(ONNXRUNTIME)}", _onnxruntime
    ),
    "openvino": Subject("OpenVINO", "openvino", _listed(OPENVINO), _openvino),
}
OURS = {
    "torchconv": Subject("torchconv", "torchconv", "channels_last", _torchconv),
    "optimized": Subject("torchconv, optimized", "torchconv", "channels_last", _optimized),
    "optimized_compile": Subject(
        "torchconv, optimized, compiled", "torchconv", "channels_last", _optimized_compiled
    ),
}
SUBJECTS = {**PEERS, **OURS}
