"""The differentiable operators as torch.compile sees them: opaque to Dynamo, not to AOTAutograd.

Dynamo refuses an autograd.Function with a ``jvp`` rule. AOTAutograd, which runs next, derives and
maps it as eager PyTorch does. Imported only while Dynamo traces: importing torch._dynamo takes
longer than importing torchconv.
"""

import torch
import torch._dynamo

from torchconv._gpu import dispatch
from torchconv._operators.registration import DIFFERENTIABLE

for function in DIFFERENTIABLE:
    torch.compiler.allow_in_graph(function)

# Read when a graph is traced, and part of the graph from then on.
torch._dynamo.assume_constant_result(dispatch.allow_tf32)
