"""The data sets of the examples, read from small archives in the file formats of the real ones.

torchvision compares downloads with the checksums of the real archives. These tests put the
checksums of their own small archives in the same place, so every other step is torchvision's.
"""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import urllib.error

import numpy as np
import pytest
import torch
from torchvision import datasets

from examples import RunError, data
from examples.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
TRAIN, TEST = 12, 5


def load(name, directory, *, download=False, image_size=None, augment=False):
    size = image_size or data.DATA[name].size
    return data.load(name, directory, image_size=size, augment=augment, download=download)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx_file(array):
    """The format of the MNIST files: big-endian header, then the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_files(rng):
    """The four files of MNIST, as name -> content."""
    files = {}
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx_file(images)
        files[f"{part}-labels-idx1-ubyte"] = idx_file((np.arange(count) % 10).astype(np.uint8))
    return files


def cifar_files(rng, source):
    """The batches and the list of class names of a CIFAR archive, as name -> content."""
    fine = issubclass(source, datasets.CIFAR100)
    files = {}
    for name, _ in source.train_list + source.test_list:
        count = TEST if name.startswith("test") else TRAIN // len(source.train_list)
        labels = [int(label) for label in rng.integers(0, 10, count)]
        batch = {"data": rng.integers(0, 256, (count, 3072), dtype=np.uint8)}
        batch["fine_labels" if fine else "labels"] = labels
        files[name] = pickle.dumps(batch)
    classes = [f"class {i}" for i in range(100 if fine else 10)]
    files[source.meta["filename"]] = pickle.dumps({source.meta["key"]: classes})
    return files


def tar_gz(folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def archives(monkeypatch):
    """Makes small archives whose checksums torchvision accepts; returns path -> content."""

    def make(name):
        source, rng = data.DATA[name].source, np.random.default_rng(0)
        if issubclass(source, datasets.MNIST):
            packed = {f"{n}.gz": gzip.compress(c) for n, c in mnist_files(rng).items()}
            resources = [(file, md5(packed[file])) for file, _ in source.resources]
            monkeypatch.setattr(source, "resources", resources)
            return {f"{source.__name__}/raw/{n}": content for n, content in packed.items()}
        files = cifar_files(rng, source)
        packed = tar_gz(source.base_folder, files)
        for attribute in ("train_list", "test_list"):
            names = [name for name, _ in getattr(source, attribute)]
            monkeypatch.setattr(source, attribute, [[n, md5(files[n])] for n in names])
        meta = {**source.meta, "md5": md5(files[source.meta["filename"]])}
        monkeypatch.setattr(source, "meta", meta)
        monkeypatch.setattr(source, "tgz_md5", md5(packed))
        return {source.filename: packed}

    return make


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, *args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def put(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


DOWNLOADED = [name for name, info in data.DATA.items() if info.source]


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


def test_augmentation_moves_training_images_only():
    torch.manual_seed(0)
    train, test = load("digits", None, augment=True)
    assert any(not torch.equal(train[0][0], train[0][0]) for _ in range(5))
    assert all(torch.equal(test[0][0], test[0][0]) for _ in range(5))


def make_batches(processes, workers=0, epoch=1):
    dataset = torch.utils.data.TensorDataset(torch.arange(100))
    loader = data.batches(
        dataset,
        20,
        processes,
        train=True,
        seed=3,
        workers=workers,
        generator=torch.Generator().manual_seed(0),
    )
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
