"""The data sets of the examples, read from small archives in the file formats of the real ones."""

import io
import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from examples import RunError
from examples.images import data
from examples.images.augment import RandomAffine
from examples.training.processes import Processes
from tests.examples.archives import (  # noqa: F401
    DOWNLOADED,
    TEST,
    TRAIN,
    load,
    make_archives,
    mnist_files,
    no_network,
    put,
)

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("name", DOWNLOADED)
def test_archives_are_unpacked_and_read(name, tmp_path, archives):
    put(tmp_path, archives(name))
    train, test = load(name, tmp_path, download=True)
    info = data.DATA[name]
    assert (len(train), len(test)) == (TRAIN // 5 * 5 if name == "cifar10" else TRAIN, TEST)
    for image, label in (*train, *test):
        assert image.shape == (info.channels, info.size, info.size)
        assert image.dtype == torch.float32
        assert 0 <= label < info.classes
    again, _ = load(name, tmp_path)  # now without --download
    assert torch.equal(again[3][0], train[3][0])
    assert not list(tmp_path.glob(f".{name}*")), "the temporary directory is still there"


def test_pixels_and_labels_arrive_unchanged(tmp_path):
    files = mnist_files(np.random.default_rng(1))
    put(tmp_path / "MNIST/raw", files)
    train, _ = load("mnist", tmp_path)
    info = data.DATA["mnist"]
    pixels = np.frombuffer(files["train-images-idx3-ubyte"], np.uint8, offset=16)
    expected = (torch.tensor(pixels[: 28 * 28]).view(1, 28, 28) / 255 - info.mean[0]) / info.std[0]
    torch.testing.assert_close(train[0][0], expected)
    assert [label for _, label in train] == [i % 10 for i in range(TRAIN)]


def test_images_are_resized_for_the_model(tmp_path, archives):
    put(tmp_path, archives("cifar10"))
    train, test = load("cifar10", tmp_path, download=True, image_size=64, augment=True)
    assert train[0][0].shape == test[0][0].shape == (3, 64, 64)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_missing_data_is_one_sentence_that_helps(name, tmp_path):
    with pytest.raises(RunError, match=r"missing or damaged.*--download.*--data digits") as error:
        load(name, tmp_path / "nothing")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 3, 16, 1000])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_truncated_mnist_file(keep, file, tmp_path):
    files = mnist_files(np.random.default_rng(0))
    files[file] = files[file][: min(keep, len(files[file]) - 1)]
    put(tmp_path / "MNIST/raw", files)
    with pytest.raises(RunError, match="missing or damaged"):
        load("mnist", tmp_path)


def test_labels_that_do_not_match_the_images(tmp_path):
    files = mnist_files(np.random.default_rng(0))
    files["train-labels-idx1-ubyte"] = files["t10k-labels-idx1-ubyte"]
    put(tmp_path / "MNIST/raw", files)
    with pytest.raises(RunError, match=f"{TRAIN} images but {TEST} labels"):
        load("mnist", tmp_path)


def test_damaged_cifar_batch(tmp_path, archives):
    put(tmp_path, archives("cifar10"))
    load("cifar10", tmp_path, download=True)
    batch = tmp_path / "cifar-10-batches-py/data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(RunError, match="missing or damaged"):
        load("cifar10", tmp_path)
    train, _ = load("cifar10", tmp_path, download=True)  # unpacks the good archive once more
    assert len(train) == TRAIN // 5 * 5


@pytest.mark.parametrize("name", DOWNLOADED)
def test_truncated_archive_leaves_nothing_half_written(name, tmp_path, archives):
    files = archives(name)
    broken = next(iter(files))
    files[broken] = files[broken][: len(files[broken]) // 2]
    put(tmp_path, files)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"could not be downloaded.*put .*\.gz"):
        load(name, tmp_path, download=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_download_that_breaks_off_leaves_nothing_half_written(tmp_path, monkeypatch):
    class Response(io.BytesIO):
        url, length = None, 100_000

        def read(self, size=-1):
            content = super().read(size)
            if not content:
                raise ConnectionResetError("connection reset by peer")
            return content

    monkeypatch.setattr("urllib.request.urlopen", lambda *_: Response(b"\x1f\x8b" * 500))
    with pytest.raises(RunError, match=r"could not be downloaded.*--data digits"):
        load("fashionmnist", tmp_path / "data", download=True)
    assert not list((tmp_path / "data").iterdir())


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(RunError, match="could not be downloaded into"):
        load("mnist", tmp_path / "file" / "data", download=True)


def test_augmentation_moves_training_images_only():
    torch.manual_seed(0)
    train, test = load("digits", None, augment=True)
    assert any(not torch.equal(train[0][0], train[0][0]) for _ in range(5))
    assert all(torch.equal(test[0][0], test[0][0]) for _ in range(5))


def make_batches(processes, workers=0, epoch=1, train=True):
    dataset = torch.utils.data.TensorDataset(torch.arange(100))
    loader = data.batches(
        dataset,
        20,
        processes,
        train=train,
        seed=3,
        workers=workers,
        generator=torch.Generator().manual_seed(0),
    )
    if train:
        loader.sampler.set_epoch(epoch)
    return [batch for (batch,) in loader]


def test_order_follows_from_seed_and_epoch():
    first, again, other = make_batches(ALONE), make_batches(ALONE), make_batches(ALONE, epoch=2)
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))
    assert torch.equal(torch.cat(first).sort().values, torch.arange(100))


def test_workers_load_the_same_batches():
    assert torch.equal(torch.cat(make_batches(ALONE, workers=2)), torch.cat(make_batches(ALONE)))


def test_processes_share_each_batch():
    whole = make_batches(ALONE)
    shares = [make_batches(Processes(rank, 2, ALONE.device)) for rank in range(2)]
    for batch, left, right in zip(whole, *shares, strict=True):
        assert torch.equal(torch.cat([left, right]).sort().values, batch.sort().values)


def test_processes_share_the_test_images():
    shares = [make_batches(Processes(rank, 3, ALONE.device), train=False) for rank in range(3)]
    seen = torch.cat([batch for share in shares for batch in share])
    assert torch.equal(seen.sort().values, torch.arange(100))


def test_images_move_one_by_one_and_as_torchvision_moves_them(monkeypatch):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    drawn = torch.tensor([[0.9, 0.2], [0.7, 0.4], [0.5, 1.0], [0.5, 0.0]])
    monkeypatch.setattr(torch, "rand", lambda *_: drawn)
    moved = RandomAffine(degrees=30, shift=3, scale=0.2)(images)
    assert moved.dtype == torch.uint8 and moved.shape == images.shape
    for i, (angle, scale) in enumerate(((24, 1.08), (-18, 0.96))):
        shift = [0, 0]
        if i == 1:
            # The shift is in the coordinates of the source, before it is turned and scaled.
            a = math.radians(angle)
            x, y = -3 * scale, 3 * scale
            shift = [x * math.cos(a) + y * math.sin(a), -x * math.sin(a) + y * math.cos(a)]
        expected = functional.affine(
            images[i].float(),
            angle=-angle,
            translate=shift,
            scale=scale,
            shear=[0.0],
            interpolation=functional.InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(moved[i].float(), expected, rtol=0, atol=1)
