"""What the dispatcher does with the operators, torch.ops.torchconv.*, above their kernels.

A graph that was exported or traced holds the operators and not the functions that made it. Here
they are differentiated and mapped as those functions are: at the autograd keys, and under the
transforms of torch.func before these take the operators apart.
``torch.library.register_autograd`` would give wrong results under torch.func.jvp.
"""

import torch

from torchconv import _integers
from torchconv._operators import aten, autograd, autograd_activation, autograd_each, load

_library = torch.library.Library("torchconv", "IMPL")  # the rules live as long as it does

DIFFERENTIABLE = (
    autograd.conv2d,
    autograd.conv2d_grad_input,
    autograd.conv2d_grad_weight,
    autograd.conv2d_backward,
    autograd_each.conv2d_each,
    autograd_each.conv2d_each_grad_input,
    autograd_each.conv2d_each_grad_weight,
    autograd_activation.conv2d_activation,
    autograd_activation.activate,
)
for _function in DIFFERENTIABLE:
    for _key in ("Autograd", "FuncTorchDynamicLayerFrontMode"):
        _library.impl(_function.__name__, _function, _key)

torch.library.register_vmap("torchconv::conv2d_int32", _integers.batched)

if load.problem is None:  # else aten.py has defined them as well
    aten.implement(_library)
