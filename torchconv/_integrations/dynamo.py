"""The differentiable operators as torch.compile sees them: opaque to Dynamo, not to AOTAutograd.

Dynamo refuses an autograd.Function with a ``jvp`` rule. AOTAutograd, which runs next, derives and
maps it as eager PyTorch does. Imported only while Dynamo traces: importing torch._dynamo takes
longer than importing torchconv.
"""

import torch
import torch._dynamo

from torchconv import _cuda
from torchconv._operators import autograd, autograd_activation, autograd_each

for function in (
    autograd.conv2d,
    autograd.conv2d_grad_input,
    autograd.conv2d_grad_weight,
    autograd.conv2d_backward,
    autograd_each.conv2d_each,
    autograd_each.conv2d_each_grad_input,
    autograd_each.conv2d_each_grad_weight,
    autograd_activation.conv2d_activation,
    autograd_activation.activate,
):
    torch.compiler.allow_in_graph(function)

# Read when a graph is traced, and part of the graph from then on.
torch._dynamo.assume_constant_result(_cuda.allow_tf32)
