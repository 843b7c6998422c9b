"""Small archives in the file formats of the real data sets, for tests without a network.

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
from torchvision import datasets

from examples.images import data

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


@pytest.fixture(name="archives")
def make_archives(monkeypatch):
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
