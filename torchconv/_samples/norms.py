"""``per_sample_grad_norms``: from one forward and one backward pass over the batch.

The backward pass computes no gradients of parameters. Wherever it passes a layer with parameters,
a hook sums the squares of that layer's gradients, sample by sample (rules.py).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.func import functional_call

from torchconv._samples.rules import Squares, refuse, rule_of, trainable

_NAME = "per_sample_grad_norms()"


@overload
def per_sample_grad_norms(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    inputs: Tensor | tuple[Any, ...],
    targets: Any,
    *,
    by_parameter: Literal[False] = False,
) -> Tensor: ...
@overload
def per_sample_grad_norms(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    inputs: Tensor | tuple[Any, ...],
    targets: Any,
    *,
    by_parameter: Literal[True],
) -> dict[str, Tensor]: ...
def per_sample_grad_norms(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    inputs: Tensor | tuple[Any, ...],
    targets: Any,
    *,
    by_parameter: bool = False,
) -> Tensor | dict[str, Tensor]:
    r"""Returns how long the gradient of each sample of a batch is, in the Euclidean norm.

    For differentially private training, which clips these gradients, and for telling important
    samples from others. The gradients themselves never exist all at once: of a convolution one per
    thread, of a linear layer none. It costs about as much as one training step.

    Args:
        model: its parameters that require gradients count. Their ``.grad`` is not touched.
            ``nn.Conv2d``, of torchconv or not, ``nn.Linear``, ``nn.Embedding``, other convolutions,
            ``nn.PReLU`` and norms may have some, each called once in a forward pass.
        loss_fn: called with the output of the model and ``targets``, returns the loss of each
            sample, ``(B,)``, as losses do with ``reduction="none"``.
        inputs: ``(B, ...)``, or a tuple of arguments of the model that begins with one such.
        targets: passed to ``loss_fn``.
        by_parameter: one norm for each parameter instead of one for all.

    Returns:
        ``(B,)``, of the dtype of the losses, at least float32; or a dict of such tensors by the
        names of the parameters.

    Raises:
        RuntimeError: a layer computes with the statistics of the whole batch, as BatchNorm does in
            training; or in inference mode.
        NotImplementedError: there is no rule for a layer with parameters, or it is called twice,
            not at all or not with one tensor of ``B`` samples, or shares a parameter with another.
        TypeError: ``inputs`` is not a tensor with samples, nor begins with one.
        ValueError: ``loss_fn`` did not return one loss for each sample.

    Example:
        >>> from torch import nn
        >>> import torchconv
        >>> model = nn.Sequential(torchconv.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
        >>> images, labels = torch.randn(8, 1, 4, 4), torch.randint(2, (8,))
        >>> loss = nn.CrossEntropyLoss(reduction="none")
        >>> norms = per_sample_grad_norms(model, loss, images, labels)
        >>> norms.shape
        torch.Size([8])
        >>> factors = (1.0 / norms).clamp(max=1)  # no gradient is longer than 1
        >>> (factors * loss(model(images), labels)).mean().backward()
        >>> list(per_sample_grad_norms(model, loss, images, labels, by_parameter=True))
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError(f"{_NAME}: there are no gradients in inference mode")
    model = getattr(model, "_orig_mod", model)  # of torch.compile, in which no hooks run
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    if not arguments or not isinstance(arguments[0], Tensor) or arguments[0].dim() == 0:
        found = type(arguments[0]).__name__ if arguments else "an empty tuple"
        raise TypeError(f"{_NAME}: inputs must begin with a batch of samples, but got {found}")
    arguments = tuple(x.detach() if isinstance(x, Tensor) else x for x in arguments)
    watch = _Watch(model, len(arguments[0]))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    with torch.enable_grad():
        with watch.forward_pass():
            output = functional_call(model, parameters, arguments)
            losses = loss_fn(output, targets)
        _check_losses(losses, watch.batch)
        watch.backward_pass(losses)
    dtype = torch.promote_types(losses.dtype, torch.float32)
    sums = watch.sums(losses.device)
    if by_parameter:
        return {name: total.sqrt().to(dtype) for name, total in sums.items()}
    total = torch.zeros(watch.batch, dtype=torch.float64, device=losses.device)
    return sum(sums.values(), total).sqrt().to(dtype)


def _check_losses(losses: Any, batch: int) -> None:
    if isinstance(losses, Tensor) and losses.shape == (batch,):
        return
    found = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
    raise ValueError(
        f"{_NAME}: loss_fn must return one loss for each sample, of shape ({batch},), but got "
        f"{found}; losses of torch.nn do with reduction='none'"
    )


class _Anchored(torch.autograd.Function):
    """A copy that is part of the graph, of what depends on nothing that requires gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, anchor: Tensor, /) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, torch.zeros(())


class _Watch:
    """The layers of a model with parameters, while one batch runs through it."""

    def __init__(self, model: nn.Module, batch: int) -> None:
        self.model, self.batch = model, batch
        self.layers = {name: layer for name, layer in model.named_modules() if trainable(layer)}
        for name, layer in model.named_modules():
            refuse(name, layer)
        self._refuse_shared()
        self._anchor = torch.zeros((), requires_grad=True)
        self._inputs: dict[str, Tensor] = {}  # of layers that the backward pass has not reached
        self._called: set[str] = set()
        self._squares: dict[str, Squares] = {}

    def _refuse_shared(self) -> None:
        owners: dict[nn.Parameter, str] = {}
        for name, layer in self.layers.items():
            for parameter in trainable(layer).values():
                first = owners.setdefault(parameter, name)
                if first != name:
                    raise NotImplementedError(f"{_NAME}: {first} and {name} share a parameter")

    @contextmanager
    def forward_pass(self) -> Iterator[None]:
        with ExitStack() as hooks:
            for name, layer in self.layers.items():
                hook = self._hook(name, layer)
                hooks.enter_context(
                    layer.register_forward_hook(hook, prepend=True, with_kwargs=True)
                )
            yield

    def backward_pass(self, losses: Tensor) -> None:
        for name in self.layers.keys() - self._called:
            raise NotImplementedError(
                f"{_NAME}: {name} has parameters but is not called; if its weight is not used "
                "otherwise, requires_grad_(False) leaves it out"
            )
        if self.batch and losses.requires_grad:
            torch.autograd.grad(losses.sum(), self._anchor, allow_unused=True)

    def sums(self, device: torch.device) -> Squares:
        """The sums of squares, by the names of the parameters; of what had no part in it zero."""
        found = {}
        for name, layer in self.layers.items():
            for parameter in trainable(layer):
                full = f"{name}.{parameter}" if name else parameter
                zero = torch.zeros(self.batch, dtype=torch.float64, device=device)
                found[full] = self._squares.get(name, {}).get(parameter, zero)
        return found

    def _hook(self, name: str, layer: nn.Module) -> Callable[..., Tensor]:
        rule = rule_of(layer)

        def keep_input(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Tensor:
            self._check_call(name, args, kwargs, output)
            self._called.add(name)
            self._inputs[name] = args[0].detach()
            if not output.requires_grad:
                output = _Anchored.apply(output, self._anchor)
            output.register_hook(sum_squares)
            return output

        def sum_squares(grad: Tensor) -> None:
            with torch.no_grad():
                self._squares[name] = rule(layer, self._inputs.pop(name), grad)

        return keep_input

    def _check_call(self, name: str, args: Any, kwargs: Any, output: Any) -> None:
        problem = None
        if name in self._called:
            problem = "is called twice"
        elif not torch.is_grad_enabled():
            problem = "is called where gradients are off, perhaps in a checkpoint"
        elif kwargs or len(args) != 1 or not all(isinstance(x, Tensor) for x in (*args, output)):
            problem = "is not called with one tensor"
        elif output.dim() < 2 or any(x.shape[:1] != (self.batch,) for x in (args[0], output)):
            shapes = f"{tuple(args[0].shape)} to {tuple(output.shape)}"
            problem = f"goes from {shapes}, not from {self.batch} samples to as many results"
        if problem:
            raise NotImplementedError(f"{_NAME}: {name or 'the model itself'} {problem}")
