"""A data set that cannot be read or downloaded: the message says what is wrong, and what to do."""

import http.server
import os
import threading
import urllib.request

import pytest
from torchvision import datasets

from examples import RunError
from examples.images import data
from tests.examples.archives import DOWNLOADED, load, make_archives, no_network, put  # noqa: F401

URLOPEN = urllib.request.urlopen
FILES = {
    "mnist": [
        f"MNIST/raw/{part}-{kind}"
        for part in ("train", "t10k")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ],
    "cifar10": [
        f"cifar-10-batches-py/{name}"
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    ],
    "cifar100": [f"cifar-100-python/{name}" for name in ("train", "test", "meta")],
}
FILES["fashionmnist"] = [name.replace("MNIST", "FashionMNIST") for name in FILES["mnist"]]


def refusal(name, directory):
    with pytest.raises(RunError) as error:
        load(name, directory)
    message = str(error.value)
    assert "\n" not in message and "missing or damaged" in message
    return message


@pytest.mark.parametrize("name", DOWNLOADED)
def test_every_file_and_the_directory_are_named(name, tmp_path):
    message = refusal(name, tmp_path)
    assert f"in {tmp_path} " in message and "not found: all" in message
    for file in FILES[name]:
        assert file in message
    put(tmp_path, dict.fromkeys(FILES[name][1:], b""))
    assert f"not found: {FILES[name][0]};" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", DOWNLOADED)
@pytest.mark.parametrize("real", [".", "vision", "vision/sets", "../..", ".."])
def test_directory_some_levels_off(name, real, tmp_path):
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    place = (directory / real).resolve()
    put(place, dict.fromkeys(FILES[name], b"0"))
    message = refusal(name, directory)
    if real == ".":
        assert "--data-dir /" not in message
    else:
        assert f"they are in {place}, so use --data-dir {place};" in message


@pytest.mark.parametrize("name", DOWNLOADED)
@pytest.mark.parametrize("folder", ["", "raw", "some/where"])
def test_files_outside_their_folder(name, folder, tmp_path):
    names = [file.rpartition("/")[2] for file in FILES[name]]
    put(tmp_path / folder, dict.fromkeys(names, b"0"))
    wrong, right = tmp_path / folder / names[0], tmp_path / FILES[name][0]
    assert f"{wrong} should be at {right};" in refusal(name, tmp_path)


def test_files_of_another_data_set_are_no_hint(tmp_path):
    put(tmp_path, dict.fromkeys(FILES["mnist"], b"0"))
    assert "should be at" not in refusal("fashionmnist", tmp_path)


def test_files_of_other_names_are_told(tmp_path):
    put(tmp_path / "MNIST/raw", {"train-images.idx3-ubyte": b"0", "t10k-images.idx3-ubyte": b"0"})
    place = tmp_path / "MNIST/raw"
    told = f"{place} holds t10k-images.idx3-ubyte, train-images.idx3-ubyte;"
    assert told in refusal("mnist", tmp_path)
    assert f"{tmp_path} holds MNIST;" in refusal("cifar10", tmp_path)
    missing = tmp_path / "nothing"
    assert f"{missing} cannot be listed (No such file or directory)" in refusal("mnist", missing)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_archives_that_wait_to_be_unpacked(name, tmp_path, archives):
    packed = archives(name)
    put(tmp_path, packed)
    assert "--download unpacks them without a network" in refusal(name, tmp_path)
    load(name, tmp_path, download=True)  # the test has no network


@pytest.mark.parametrize("name", ["mnist", "fashionmnist"])
def test_archives_outside_their_folder(name, tmp_path, archives):
    packed = archives(name)
    put(tmp_path, {archive.rpartition("/")[2]: content for archive, content in packed.items()})
    assert f"should be at {tmp_path / next(iter(packed))};" in refusal(name, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_damaged_file_is_named(name, tmp_path, archives):
    put(tmp_path, archives(name))
    load(name, tmp_path, download=True)
    (tmp_path / FILES[name][1]).write_bytes(b"")
    assert f"{FILES[name][1]}: not the published content" in refusal(name, tmp_path)


@pytest.fixture
def forbidding_mirror(monkeypatch):
    """The address of a server that answers every request with 403."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(urllib.request, "urlopen", URLOPEN)
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("name", DOWNLOADED)
def test_answer_of_a_mirror_is_told(name, tmp_path, monkeypatch, forbidding_mirror):
    source = data.DATA[name].source
    if issubclass(source, datasets.MNIST):
        monkeypatch.setattr(source, "mirrors", [forbidding_mirror, forbidding_mirror + "second/"])
    else:
        monkeypatch.setattr(source, "url", forbidding_mirror + source.filename)
    with pytest.raises(RunError, match="HTTP Error 403: Forbidden") as error:
        load(name, tmp_path / "data", download=True)
    assert "\n" not in str(error.value)
    if issubclass(source, datasets.MNIST):
        assert f"Tried {forbidding_mirror}second/, got: HTTP Error 403" in str(error.value)
    assert not os.listdir(tmp_path / "data")
