"""What users are told: the report, and the comparison with the original."""

import math

import pytest
import torch
from torch import nn

import torchconv
from tests.optimize.models import Code, image, randomised


def network():
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, groups=1), nn.BatchNorm2d(4), nn.ReLU(),
            nn.BatchNorm2d(4), nn.Conv2d(4, 8, (1, 3), groups=4),
        )
    )  # fmt: skip


def test_a_model_that_was_never_optimised():
    report = torchconv.report(network())
    assert [row.name for row in report] == ["0", "1", "3", "4"]
    assert report[0].done == () and "was not called" in report[0].reason
    converted = torchconv.report(torchconv.convert(network()))
    assert converted[0].done == ("torchconv",) and converted[0].reason == ""

    class Mine(nn.Conv2d):
        def forward(self, x):
            return nn.functional.conv2d(x, self.weight)

    assert "Mine has a forward of its own" in torchconv.report(Mine(3, 3, 1))[0].reason


def test_an_optimised_model():
    report = torchconv.report(torchconv.optimize(network(), image(1, 3, 9, 9)))
    assert isinstance(report, list) and [row.name for row in report] == ["0", "3", "4"]
    assert report[0].done == ("BatchNorm", "relu", "torchconv") and report[0].reason == ""
    assert report[0].output_size == (1, 4, 4, 4) and report[2].output_size == (1, 8, 4, 2)
    assert "output   packed" in str(report) and "1x4x4x4" in str(report)
    assert report.packed_bytes == report[0].packed_bytes + report[2].packed_bytes > 0
    assert f"{report[0].packed_bytes / 1024:.0f} KB" in str(report)
    assert str(torchconv.report(torchconv.optimize(network()))).splitlines() == [
        "name  layer                                           done",
        "0     ConvActivation2d(3, 4, kernel 3x3, stride 2x2)  BatchNorm, relu, torchconv",
        "3     BatchNorm2d(4)",
        "4     ConvActivation2d(4, 8, kernel 1x3, 4 groups)    torchconv",
    ]


def test_a_part_of_a_model_has_a_report_of_its_own():
    optimised = torchconv.optimize(nn.Sequential(network(), nn.Conv2d(8, 1, 1)).eval())
    assert torchconv.report(optimised[0])[0].done == ("BatchNorm", "relu", "torchconv")
    with pytest.raises(TypeError, match="must be a Module"):
        torchconv.report(None)


class Changing(nn.Module):
    """Returns something else at every call."""

    def __init__(self, results):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.results = results

    def forward(self, x):
        return self.results.pop(0)


ONE = torch.ones(4)


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (ONE, ONE + 2e-4, "output 0 .* differs .* by 0.0002"),
        ({"a": [ONE, 5 * ONE], "b": "text"}, {"a": [ONE, 5 * ONE + 1e-3], "b": "text"}, "output 1"),
        (ONE, torch.ones(3), r"shape \[3\], that of the original \[4\]"),
        (ONE, (ONE, ONE), "returns 2 values, the original 1"),
        (ONE.long(), ONE.long() * 2, "differs"),
        (ONE, ONE * math.nan, "differs"),
        (ONE * math.inf, -ONE * math.inf, "differs"),
        (torch.zeros(4), ONE, "differs"),
        (ONE.bfloat16(), ONE.bfloat16() * 1.5, "differs"),
    ],
)
def test_a_difference_is_an_error(first, second, problem):
    with pytest.raises(RuntimeError, match=problem):
        torchconv.optimize(Changing([first, second]).eval(), image(), inplace=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ONE, ONE + 5e-5),
        (ONE * math.nan, ONE * math.nan),
        (torch.tensor([math.inf, 1.0]), torch.tensor([math.inf, 1.00001])),
        (ONE.bfloat16(), ONE.bfloat16() * 1.05),
        ((ONE, None, "text"), (ONE, None, "other")),
        (torch.ones(0), torch.ones(0)),
    ],
)
def test_rounding_is_no_error(first, second):
    results = [first, second]
    torchconv.optimize(Changing(results).eval(), image(), inplace=True)
    assert results == []


def test_what_the_trace_cannot_see_is_found_by_comparing():
    class Secret(nn.Module):
        """Uses a folded weight in code that is not traced."""

        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

        def forward(self, x, scale=1):
            return self.block(x) * self.block[0].weight.abs().sum() * scale

    with pytest.raises(RuntimeError, match="differs"):
        torchconv.optimize(randomised(Secret()), image())


def test_the_example_is_not_changed_and_random_models_compare():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, scale):
            return self.conv(x.mul_(scale)) + torch.rand(())

    model, example = Noisy().eval(), image()
    state = torch.get_rng_state()
    torchconv.optimize(model, (example, 2.0))
    assert torch.equal(example, image()) and torch.equal(torch.get_rng_state(), state)


def test_hooks_that_note_sizes_are_gone():
    optimised = torchconv.optimize(Code(lambda self, x: self.conv(x)).eval(), image())
    assert not any(module._forward_hooks for module in optimised.modules())
