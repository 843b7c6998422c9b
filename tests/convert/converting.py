"""What the tests of convert and patched share: who computed, and copies of several kinds."""

import copy
import io
import pickle

import torch
from torch.utils._python_dispatch import TorchDispatchMode

OURS = {"torchconv::conv2d", "torchconv::conv2d_grad_input"}
ATENS = {"aten::convolution"}


class Operators(TorchDispatchMode):
    """Who computed the convolutions of a call."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.names.add(function._schema.name)
        return function(*arguments, **(options or {}))


def computed_by(call, *arguments):
    """ "torchconv" or "PyTorch"; not both."""
    with Operators() as seen:
        call(*arguments)
    found = seen.names & (OURS | ATENS)
    assert found and (found <= OURS or found <= ATENS), found
    return "torchconv" if found <= OURS else "PyTorch"


def saved_and_loaded(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def pickled(module):
    return pickle.loads(pickle.dumps(module))


COPIES = (copy.deepcopy, pickled, saved_and_loaded)
