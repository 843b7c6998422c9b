"""The figures show the numbers they are made of, in colours and places where they can be read."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from torch import nn

import torchconv
from examples.models import LeNet
from tests.visualize.test_runs import random_pairs, records, write_metrics, write_predictions
from torchconv.visualize import confusion, curves, feature_maps, filters, receptive_field
from torchconv.visualize._theme import THEMES

ROOT = Path(__file__).parents[2]
DIGITS = "0123456789"


def luminance(colour):
    """Relative luminance of WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


FIGURES = {
    "one filter": lambda t, p: filters(torch.zeros(1, 1, 1, 1), theme=t),
    "grey filters": lambda t, p: filters(nn.Conv2d(1, 33, (3, 5)), theme=t),
    "colour filters": lambda t, p: filters(nn.Conv2d(3, 64, 11), theme=t),
    "many filters": lambda t, p: filters(nn.Conv2d(256, 300, 3), theme=t),
    "1-d filters": lambda t, p: filters(nn.Conv1d(2, 3, 9), theme=t),
    "maps": lambda t, p: feature_maps(LeNet(), torch.randn(1, 28, 28), theme=t),
    "colour maps": lambda t, p: feature_maps(nn.Conv2d(3, 20, 3), torch.rand(3, 20, 30), theme=t),
    "field": lambda t, p: receptive_field(LeNet(), "features.5", theme=t),
    "large image": lambda t, p: receptive_field(LeNet(), "features.5", image_size=100, theme=t),
    "curves": lambda t, p: curves(write_metrics(p, records()), theme=t),
    "one epoch": lambda t, p: curves(write_metrics(p, records(("torch",), 1)), theme=t),
    "ten classes": lambda t, p: confusion(write_predictions(p, random_pairs(DIGITS)), theme=t),
    "named classes": lambda t, p: confusion(
        write_predictions(p, random_pairs([f"a longer name {i}" for i in range(100)], 900)), theme=t
    ),
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", FIGURES)
def test_all_text_can_be_read(name, theme, tmp_path, monkeypatch):
    """No text is cut off, and each has the contrast of WCAG 2 (4.5) to what is behind it."""
    drawn = {}
    draw = Text.draw

    def record_and_draw(self, renderer, *arguments, **options):
        drawn[self] = None
        draw(self, renderer, *arguments, **options)

    monkeypatch.setattr(Text, "draw", record_and_draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a layout that does not work out
        figure = FIGURES[name](theme, tmp_path)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    assert figure.get_facecolor()[:3] == pytest.approx(to_rgb(THEMES[theme].page))
    pixels = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    height, width = pixels.shape[:2]
    texts = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    assert texts
    for text in texts:
        box, where = text.get_window_extent(), f"{text.get_text()!r} of {name}"
        assert box.x0 >= -1 and box.y0 >= -1, where
        assert box.x1 <= width + 1 and box.y1 <= height + 1, where
        x, y = min(max(0, int(box.x0) - 1), width - 1), int(height - (box.y0 + box.y1) / 2)
        assert contrast(text.get_color(), pixels[y, x]) >= 4.5, where


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_numbers_of_an_animation_can_be_read(theme):
    for fill in (theme.page, theme.input, theme.window, theme.kernel, theme.output, theme.current):
        assert contrast(theme.ink, fill) >= 4.5
    for fill in (theme.page, theme.padding):
        assert contrast(theme.muted, fill) >= 4.5


def pixels(axes):
    return np.ma.filled(axes.images[0].get_array(), np.nan)


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (4, 2, 3, 4)])
def test_filters_show_every_weight(shape):
    layer = torchconv.Conv2d(shape[1], shape[0], shape[2:])
    figure = filters(layer)
    weight = layer.weight.detach().double().numpy()
    shown = pixels(figure.axes[0])
    limit = np.abs(weight).max()
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-limit, limit))
    counts = [np.isclose(shown, value, atol=1e-12).sum() for value in weight.flat]
    assert len(set(counts)) == 1 and counts[0] > 0  # each as often, and all of equal size
    assert np.count_nonzero(~np.isnan(shown)) == sum(counts)


def test_first_filter_is_at_the_top_left():
    weight = torch.arange(24.0).reshape(4, 1, 2, 3)
    shown = pixels(filters(weight).axes[0])
    tile = shown[:, : shown.shape[1] // 4 - 1]
    assert tile[0, 0] == 0 and tile[-1, 0] == 3
    assert shown[0, -1] == 20 and shown[-1, -1] == 23


def test_colour_filters_keep_their_colours():
    weight = torch.zeros(2, 3, 1, 1)
    weight[0, :, 0, 0] = torch.tensor([-1.0, 0.0, 1.0])
    shown = pixels(filters(weight).axes[0])
    assert shown[0, 0].tolist() == [0, 0.5, 1, 1]  # the last one is opacity
    assert shown[0, -1].tolist() == [0, 0, 0, 1]


def test_titles_say_what_is_left_out():
    assert filters(nn.Conv2d(3, 64, 11)).get_suptitle() == "64 filters of 3 × 11 × 11"
    title = filters(nn.Conv2d(40, 70, 1)).get_suptitle()
    assert title == "70 filters of 40 × 1 × 1; here filters 0 to 31, channels 0 to 31"


@pytest.mark.parametrize(
    "layer, error, message",
    [
        (nn.ReLU(), TypeError, "ReLU has no weight"),
        (nn.Linear(2, 3), ValueError, r"got \[3, 2\]"),
        (torch.zeros(0, 1, 3, 3), ValueError, r"got \[0, 1, 3, 3\]"),
        (nn.Conv3d(1, 1, 2), ValueError, r"got \[1, 1, 2, 2, 2\]"),
    ],
)
def test_layers_without_filters(layer, error, message):
    with pytest.raises(error, match=message):
        filters(layer)


def test_feature_maps_are_those_of_the_model():
    model = LeNet(torchconv.Conv2d).train()
    model.features[1] = nn.ReLU(inplace=True)
    image = torch.rand(1, 28, 28)
    figure = feature_maps(model, image, ["features.0", model.features[3]])
    expected = [model.features[:1](image[None])[0], model.features[:4](image[None])[0]]
    assert model.training and not any(m._forward_hooks for m in model.modules())
    for part, maps in zip(figure.subfigs[1:], expected, strict=True):
        shown = pixels(part.axes[0])
        values = shown[~np.isnan(shown)]
        assert np.array_equal(np.unique(values), np.unique(maps.detach().double().numpy()))
        assert part.axes[0].images[0].get_clim()[1] == pytest.approx(maps.abs().max().item())
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles[1:] == [
        "features.0 (Conv2d): 6 maps of 28 × 28",
        "features.3 (Conv2d): 16 maps of 10 × 10",
    ]


@pytest.mark.parametrize(
    "image, layers, error, message",
    [
        (torch.rand(1, 28, 28), "features.9", AttributeError, "no layer 'features.9'.*features.0"),
        (torch.rand(1, 28, 28), [nn.ReLU()], ValueError, "not part of the model"),
        (torch.rand(1, 28, 28), [], ValueError, "no layer to draw"),
        (torch.rand(1, 28, 28), "classifier.1", RuntimeError, r"got an output of size \[1, 120\]"),
        (torch.rand(2, 1, 28, 28), None, ValueError, r"got \[2, 1, 28, 28\]"),
        ([[1.0]], None, TypeError, "must be a Tensor, got list"),
    ],
)
def test_feature_maps_refuse(image, layers, error, message):
    with pytest.raises(error, match=message):
        feature_maps(LeNet(), image, layers)


@pytest.mark.parametrize("name", FIGURES)
def test_unknown_theme(name, tmp_path):
    with pytest.raises(ValueError, match="theme must be one of 'light', 'dark', but got 'blue'"):
        FIGURES[name]("blue", tmp_path)


def test_imported_only_when_asked_for():
    """torchconv without matplotlib; one sentence where it is missing; never pyplot."""
    program = """
import sys
import torchconv
assert not {"matplotlib", "PIL"} & set(sys.modules), "import torchconv imports them"
from torchconv import visualize
visualize.filters(__import__("torch").zeros(1, 1, 3, 3))
assert "matplotlib.pyplot" not in sys.modules
for missing in ("matplotlib", "PIL"):
    del sys.modules["torchconv.visualize"]
    found, sys.modules[missing] = sys.modules[missing], None
    try:
        import torchconv.visualize
    except ImportError as error:
        print(error)
    sys.modules[missing] = found
    sys.modules["torchconv.visualize"] = visualize
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("needs matplotlib and Pillow" in line for line in lines)
    assert all("run: pip install 'torchconv[visualize]'" in line for line in lines)


def test_pictures_of_the_readme_are_there_and_small():
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(names) >= 3
    for name in names:
        assert (ROOT / name).stat().st_size < 300_000, name
