"""A model that runs on an example and stays as it is."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """In eval mode, eager and without gradients; modes and random state are put back.

    The flag itself is set, because ``train()`` and ``eval()`` of a class may do more. Not in
    inference mode: a model may keep what it computes once for all, and train with it later.
    """
    modes = [(module, module.training) for module in model.modules()]
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(cuda))
        stack.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # or compiled code would not know of the hooks
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training
