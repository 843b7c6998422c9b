"""Exported models in other runtimes: AOTInductor, and ONNX Runtime."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import torchconv
from tests.compare import assert_near

pytestmark = pytest.mark.usefixtures("fresh_compiler")


class Network(nn.Module):
    """Every kind of padding, groups, an even kernel and a layer of either class."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, (3, 2), padding="same", groups=8, bias=False)
        self.reflected = nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect", dilation=1)
        self.last = nn.Conv2d(4, 5, 1)

    def forward(self, images):
        features = self.first(images).relu()
        return self.last(self.reflected(features + self.depthwise(features)).sigmoid())


def networks():
    plain = Network().eval()
    return plain, torchconv.convert(copy.deepcopy(plain))


IMAGES = torch.randn(2, 3, 14, 12, generator=torch.Generator().manual_seed(7))
MORE = torch.randn(5, 3, 14, 12, generator=torch.Generator().manual_seed(8))
BATCH = ({0: torch.export.Dim("batch", min=2, max=64)},)


@pytest.mark.slow
def test_aot_inductor(tmp_path):
    """A library of C++ that calls torchconv's operator, with a batch of any size."""
    plain, converted = networks()
    with torch.no_grad():
        exported = torch.export.export(converted, (IMAGES,), dynamic_shapes=BATCH)
        path = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(tmp_path / "model.pt2")
        )
        loaded = torch._inductor.aoti_load_package(path)
        for images in (IMAGES, MORE):
            assert_near(loaded(images), plain(images))
        with torch.profiler.profile() as profile:
            loaded(IMAGES)
    assert any("torchconv::conv2d" in event.name for event in profile.events())


def test_onnx_runtime(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    plain, converted = networks()
    file = tmp_path / "model.onnx"
    torch.onnx.export(converted, (IMAGES,), file, dynamo=True, dynamic_shapes=BATCH, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (name,) = [node.name for node in session.get_inputs()]
    for images in (IMAGES, MORE):
        (found,) = session.run(None, {name: images.numpy()})
        assert found.dtype == np.float32
        assert_near(torch.from_numpy(found), plain(images).detach())
