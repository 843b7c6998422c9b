"""torchconv: convolutions for PyTorch that swap in for ``torch.nn.Conv2d`` and its relatives.

>>> import torch, torchconv
>>> layer = torchconv.Conv2d(3, 8, kernel_size=3, padding="same")
>>> layer(torch.randn(2, 3, 32, 32)).shape
torch.Size([2, 8, 32, 32])
"""

from torchconv._operators import load as _load

__version__ = "0.1.0"

_load.load_library()
_load.load_cuda_library()

from torchconv import functional  # noqa: E402  (needs the operators, as all that follows)
from torchconv._activations.function import conv2d_activation  # noqa: E402
from torchconv._activations.layer import ConvActivation2d  # noqa: E402
from torchconv._compare import compare  # noqa: E402
from torchconv._config import backend, get_backend, set_backend  # noqa: E402
from torchconv._convert.convert import convert, is_converted  # noqa: E402
from torchconv._convert.patched import patched  # noqa: E402
from torchconv._convert.registry import register  # noqa: E402
from torchconv._convert.revert import revert  # noqa: E402
from torchconv._explain import explain, show_config  # noqa: E402
from torchconv._integrations import export as _export  # noqa: E402, F401
from torchconv._integrations import flops as _flops  # noqa: E402
from torchconv._integrations import tools as _tools  # noqa: E402
from torchconv._operators import fakes as _fakes  # noqa: E402, F401
from torchconv._operators import registration as _registration  # noqa: E402, F401
from torchconv._optimize import optimize  # noqa: E402
from torchconv._relatives.lazy import (  # noqa: E402
    LazyConv1d,
    LazyConv2d,
    LazyConv3d,
    LazyConvTranspose1d,
    LazyConvTranspose2d,
)
from torchconv._relatives.modules import (  # noqa: E402
    Conv1d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
)
from torchconv._relatives.true_convolution import true_convolution  # noqa: E402
from torchconv._report import report  # noqa: E402
from torchconv._samples.norms import per_sample_grad_norms  # noqa: E402
from torchconv._winograd import get_winograd, set_winograd, winograd  # noqa: E402
from torchconv.functional import (  # noqa: E402
    conv1d,
    conv2d,
    conv2d_output_size,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
)
from torchconv.modules import Conv2d  # noqa: E402

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvActivation2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "backend",
    "compare",
    "conv1d",
    "conv2d",
    "conv2d_activation",
    "conv2d_output_size",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "convert",
    "explain",
    "functional",
    "get_backend",
    "get_winograd",
    "is_converted",
    "optimize",
    "patched",
    "per_sample_grad_norms",
    "register",
    "report",
    "revert",
    "set_backend",
    "set_winograd",
    "show_config",
    "true_convolution",
    "winograd",
]

_flops.register()
_tools.register()
