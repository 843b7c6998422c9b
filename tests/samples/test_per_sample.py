"""Gradients of single samples: the same as of one image after the other, in norm as torch.func has
them, in bounded memory, and as Opacus takes them."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

import torchconv
from tests.compare import assert_all_near, assert_near, same_bits
from torchconv import per_sample_grad_norms

LOSS = nn.CrossEntropyLoss(reduction="none")


class Net(nn.Module):
    """A layer of every kind that has a rule."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.first = torchconv.Conv2d(3, 8, 3, padding="same")
        self.norms = nn.Sequential(nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True))
        self.act = nn.PReLU(8)
        self.plain = nn.Conv2d(8, 8, 3, 2, 1, groups=2, padding_mode="circular")
        self.batch_norm = nn.BatchNorm2d(8)
        self.fused = torchconv.ConvActivation2d(8, 8, 1, activation="silu")
        self.depthwise = torchconv.convert(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False))
        self.line = torchconv.Conv1d(8, 4, 3, padding=1)
        self.steps = nn.Linear(16, 20)  # products of pairs of 4 steps
        self.many_steps = nn.Linear(4, 2)  # of 20 steps
        self.layer_norm = nn.LayerNorm(2)
        self.embedding = nn.Embedding(6, 4, padding_idx=1)
        self.last = nn.Linear(44, 5)

    def forward(self, images, words):
        x = self.act(self.norms(self.first(images)))
        x = F.relu(self.plain(x), inplace=True)
        x = self.depthwise(self.fused(self.batch_norm(x)).relu_())
        x = self.steps(self.line(x.flatten(2)))  # [n, 4, 20]
        x = self.layer_norm(self.many_steps(x.transpose(1, 2)))
        return self.last(torch.cat((x.flatten(1), self.embedding(words).mean(1)), 1))


def batch(n=5):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 3, 8, 8, generator=generator, dtype=torch.float64)
    words = torch.randint(6, (n, 7), generator=generator)
    return (images, words), torch.randint(5, (n,), generator=generator)


def net():
    return Net().double().eval()


def gradients(model, loss, inputs, targets):
    """Those of all samples, by torch.func."""
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def of_one(parameters, inputs, target):
        outputs = functional_call(model, parameters, tuple(x[None] for x in inputs))
        return loss(outputs, target[None]).sum()

    return vmap(grad(of_one), (None, 0, 0))(parameters, inputs, targets)


def norms_of(gradients):
    return {name: each.flatten(1).norm(dim=1) for name, each in gradients.items()}


def assert_norms(found, gradients, tolerance=1e-12):
    expected = norms_of(gradients)
    assert list(found) == list(expected)
    for name, norms in expected.items():
        torch.testing.assert_close(found[name], norms, rtol=tolerance, atol=1e-14)


def test_norms_are_those_of_the_gradients():
    model, (inputs, targets) = net(), batch()
    expected = gradients(model, LOSS, inputs, targets)
    found = per_sample_grad_norms(model, LOSS, inputs, targets, by_parameter=True)
    assert_norms(found, expected)
    together = per_sample_grad_norms(model, LOSS, inputs, targets)
    assert together.dtype == torch.float64
    assert_near(together, torch.stack(list(norms_of(expected).values())).norm(dim=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_norms_in_other_dtypes(dtype, memory_format):
    model = nn.Sequential(
        torchconv.Conv2d(3, 8, 3), nn.ReLU(), torchconv.Conv2d(8, 6, 3, 2), nn.Flatten(),
        nn.Linear(24, 5),
    )  # fmt: skip
    (images, _), targets = batch()
    expected = gradients(model.double(), LOSS, (images,), targets)
    images = images.to(dtype).contiguous(memory_format=memory_format)
    found = per_sample_grad_norms(model.to(dtype), LOSS, images, targets, by_parameter=True)
    assert all(norms.dtype == torch.float32 for norms in found.values())
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    assert_norms({name: x.double() for name, x in found.items()}, expected, tolerance)


def test_norms_under_autocast():
    model = nn.Sequential(torchconv.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 5)).float()
    (images, _), targets = batch()
    expected = per_sample_grad_norms(model, LOSS, images.float(), targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = per_sample_grad_norms(model, LOSS, images.float(), targets)
    torch.testing.assert_close(found, expected, rtol=3e-2, atol=0)


@pytest.mark.parametrize("backend", ["aten", "auto"])
def test_norms_of_a_layer_that_aten_computes(backend):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Flatten(), nn.Linear(128, 5)).double()
    (images, _), targets = batch()
    with torchconv.backend(backend):
        found = per_sample_grad_norms(model, LOSS, images, targets, by_parameter=True)
    assert_norms(found, gradients(model, LOSS, (images,), targets))


def test_frozen_parameters_and_outputs_without_gradients():
    model, (inputs, targets) = net(), batch()
    model.first.requires_grad_(False)
    model.plain.bias.requires_grad_(False)
    model.steps.weight.requires_grad_(False)
    found = per_sample_grad_norms(model, LOSS, inputs, targets, by_parameter=True)
    assert_norms(found, gradients(model, LOSS, inputs, targets))

    def of_constants(outputs, targets):
        return outputs.detach().sum(1)

    assert not per_sample_grad_norms(model, of_constants, inputs, targets).any()


def test_nothing_of_the_caller_changes():
    model, (inputs, targets) = net(), batch()
    seen = []
    handle = model.first.register_forward_hook(lambda layer, args, output: seen.append(output))
    model.act.register_forward_hook(lambda layer, args, output: seen.append(output) or 2 * output)
    inputs[0].requires_grad_()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        found = per_sample_grad_norms(model, LOSS, inputs, targets, by_parameter=True)
    assert len(seen) == 2
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert inputs[0].grad is None and inputs[0].requires_grad
    assert_all_near(list(model.state_dict().values()), list(state.values()), 0)
    assert len(model.first._forward_hooks) == 1 and not model.plain._forward_hooks
    handle.remove()
    assert_norms(found, gradients(model, LOSS, (inputs[0].detach(), inputs[1]), targets))


def test_one_word_of_each_sample():
    model, words = nn.Sequential(nn.Embedding(6, 5), nn.LayerNorm(5)).double(), torch.arange(4)
    found = per_sample_grad_norms(model, LOSS, words, words, by_parameter=True)
    assert_norms(found, gradients(model, LOSS, (words,), words))


def test_no_samples():
    model = nn.Sequential(torchconv.Conv2d(3, 8, 3), nn.PReLU(), nn.Flatten(), nn.Linear(72, 5))
    images, targets = torch.randn(0, 3, 5, 5), torch.arange(0)
    assert per_sample_grad_norms(model, LOSS, images, targets).shape == (0,)
    found = per_sample_grad_norms(model, LOSS, images, targets, by_parameter=True)
    assert {tuple(norms.shape) for norms in found.values()} == {(0,)} and len(found) == 5


def test_a_compiled_model_is_computed_as_it_was():
    model, (inputs, targets) = net(), batch()
    compiled = torch.compile(model, backend="eager")
    found = per_sample_grad_norms(compiled, LOSS, inputs, targets)
    assert same_bits(found, per_sample_grad_norms(model, LOSS, inputs, targets))


PEAK = """
import resource, torch, torchconv
from torch import nn
torch.set_num_threads(2)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layers = nn.Sequential(torchconv.Conv2d(512, 512, 3, padding=1), nn.Flatten(), nn.Linear(512, 4096))
images, loss = torch.randn(32, 512, 1, 1), nn.CrossEntropyLoss(reduction="none")
torchconv.per_sample_grad_norms(layers, loss, images[:2], torch.arange(2))
before = peak()
torchconv.per_sample_grad_norms(layers, loss, images, torch.arange(32))
print(peak() - before)
"""


def test_the_gradients_are_never_there_all_at_once():
    """Those of the convolution take 9 MB for each sample, of the linear layer 8 MB."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 << 10  # of 544 MB, in KB


def test_gradients_have_the_bits_of_one_image():
    """Under vmap the sample's weight gradient is computed alone, whatever the batch."""
    torch.manual_seed(0)
    weight, bias, images = torch.randn(12, 4, 3, 3), torch.randn(12), torch.randn(6, 8, 9, 10)

    def loss(weight, bias, image):
        return torchconv.conv2d(image[None], weight, bias, 2, 1, groups=2).square().sum()

    found = vmap(grad(loss, (0, 1)), (None, None, 0))(weight, bias, images)
    for i, image in enumerate(images):
        alone = grad(loss, (0, 1))(weight, bias, image)
        assert same_bits(found[0][i], alone[0])
        assert_near(found[1][i], alone[1])


def test_per_sample_gradients_may_be_differentiated():
    images, weight = torch.randn(3, 2, 5, 5).double(), torch.randn(2, 2, 3, 3).double()

    def penalty(conv):
        def loss(weight, image):
            return conv(image[None], weight).sin().sum()

        def sum_of_norms(weight):
            return vmap(grad(loss), (None, 0))(weight, images).flatten(1).norm(dim=1).sum()

        return sum_of_norms

    leaf = weight.clone().requires_grad_()
    (found,) = torch.autograd.grad(penalty(torchconv.conv2d)(leaf), leaf)
    assert_near(found, grad(penalty(F.conv2d))(weight))
    assert_near(grad(penalty(torchconv.conv2d))(weight), found)
