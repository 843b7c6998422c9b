"""The differentiable operators as torch.compile sees them: opaque to Dynamo, not to AOTAutograd.

Dynamo refuses an autograd.Function with a ``jvp`` rule. AOTAutograd, which runs next, derives and
maps it as eager PyTorch does. Imported only while Dynamo traces: importing torch._dynamo takes
longer than importing torchconv.
"""

import torch
import torch._dynamo

from torchconv import _autograd, _autograd_activation, _autograd_each, _cuda

for function in (
    _autograd.conv2d,
    _autograd.conv2d_grad_input,
    _autograd.conv2d_grad_weight,
    _autograd.conv2d_backward,
    _autograd_each.conv2d_each,
    _autograd_each.conv2d_each_grad_input,
    _autograd_each.conv2d_each_grad_weight,
    _autograd_activation.conv2d_activation,
    _autograd_activation.activate,
):
    torch.compiler.allow_in_graph(function)

# Read when a graph is traced, and part of the graph from then on.
torch._dynamo.assume_constant_result(_cuda.allow_tf32)
