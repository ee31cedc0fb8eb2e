"""Benchmarks that come as arrays: Keras's files, torchvision's downloads, and the views of COIL-100."""

import gc
import pickle
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from data_trees import keras, mnist_files, pack, picture
from helpers import raises_sentence
from torchvision import datasets

from minigan import data, protocols
from minigan.data import arrays


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "shape", "first"),
    [
        ("mnist", (28, 28), "0"),
        ("fashion_mnist", (28, 28), "T-shirt/top"),
        ("cifar10", (32, 32, 3), "airplane"),
    ],
)
def test_a_file_as_keras_has_it(home, name, shape, first):
    arrays = keras(home / f"{name}.npz", shape, 10)
    dataset = data.load(name)
    np.testing.assert_array_equal(dataset.images, np.concatenate([arrays["x_train"], arrays["x_test"]]))
    np.testing.assert_array_equal(dataset.labels, np.r_[np.arange(40) % 10, np.arange(20) % 10])
    assert dataset.classes[0] == first and len(dataset.classes) == 10 and dataset.labels.dtype == np.int64
    assert dataset.official.tolist() == ["train"] * 40 + ["test"] * 20
    large = data.load(name, size=56).images
    assert large.shape == (60, 56, 56, *shape[2:])
    split = protocols.one_class(dataset, first, validation=0.25)
    assert (dataset.labels[split.train_index] == 0).all() and len(split.test) == 20


def test_resizing_averages_what_a_pixel_stands_for(home):
    arrays = keras(home / "mnist.npz", (28, 28), 10)
    stripes = np.zeros((28, 28), np.uint8)
    stripes[:, ::2] = 255  # finer than the small image can show: grey, not black or white
    np.savez(home / "mnist.npz", **arrays | {"x_train": np.repeat(stripes[None], 40, axis=0)})
    small = data.load("mnist", size=8).images[0].astype(int)
    assert abs(small - 127).max() < 30


def test_colour_can_be_taken_out(home):
    keras(home / "cifar10.npz", (32, 32, 3), 10)
    colour, grey = data.load("cifar10").images, data.load("cifar10", grayscale=True).images
    assert grey.shape == (60, 32, 32)
    np.testing.assert_allclose(grey, colour @ (0.299, 0.587, 0.114), atol=1)
    assert data.load("cifar10", grayscale=True, size=16).images.shape == (60, 16, 16)


def test_cifar100_has_fine_and_coarse_labels(home):
    arrays = keras(home / "cifar100.npz", (32, 32, 3), 100, n=200)
    fine, coarse = data.load("cifar100"), data.load("cifar100", labels="coarse")
    assert len(fine.classes) == len(set(fine.classes)) == 100 and fine.classes == tuple(sorted(fine.classes))
    np.testing.assert_array_equal(fine.labels[:200], arrays["y_train"].ravel())
    np.testing.assert_array_equal(fine.images, coarse.images)
    names = {fine.classes[a]: coarse.classes[b] for a, b in zip(fine.labels, coarse.labels, strict=True)}
    assert names["apple"] == "fruit_and_vegetables" and names["worm"] == "non-insect_invertebrates"
    assert names["whale"] == "aquatic_mammals" and names["tractor"] == "vehicles_2"
    assert np.bincount(coarse.labels).tolist() == [15] * 20
    with raises_sentence(ValueError, 'expected labels to be "fine" or "coarse", got \'rough\''):
        data.load("cifar100", labels="rough")


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_what_torchvision_downloads(home, monkeypatch, name, kind):
    downloads = []

    def download(self):
        downloads.append(self.raw_folder)
        mnist_files(Path(self.raw_folder))

    monkeypatch.setattr(getattr(datasets, kind), "download", download)
    dataset = data.load(name)
    assert downloads == [str(home / name / kind / "raw")]
    np.testing.assert_array_equal(dataset.images, mnist_files(home / "other"))
    assert dataset.labels.tolist() == list(range(9)) and (dataset.official == "train").sum() == 6
    data.load(name, size=14)  # another copy is made from the same files
    assert len(downloads) == 1


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_batches_of_cifar(home, monkeypatch, name):
    kind = getattr(datasets, name.upper())
    folder = home / name / kind.base_folder
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(256, size=(8, 3, 32, 32), dtype=np.uint8)
    for i, part in enumerate(("train_list", "test_list")):
        rows = slice(4 * i, 4 * i + 4)
        batch = {
            "data": images[rows].reshape(4, -1),
            "labels" if name == "cifar10" else "fine_labels": [3, 1, 2, 9],
        }
        (folder / f"batch_{i}").write_bytes(pickle.dumps(batch))
        monkeypatch.setattr(kind, part, [[f"batch_{i}", None]])  # no checksum
    (folder / "meta").write_bytes(pickle.dumps({"names": []}))
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": "names", "md5": None})
    dataset = data.load(name)
    np.testing.assert_array_equal(dataset.images, images.transpose(0, 2, 3, 1))
    assert dataset.labels.tolist() == [3, 1, 2, 9] * 2 and (dataset.official == "train").sum() == 4


def test_batches_of_cifar_with_a_wrong_checksum_are_not_unpickled(home, monkeypatch):
    for name, _ in datasets.CIFAR10.train_list + datasets.CIFAR10.test_list:
        path = home / "cifar10" / "cifar-10-batches-py" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not what was published")
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled"))
    with raises_sentence(ValueError, "damaged", "delete them and load again"):
        data.load("cifar10")


def test_damaged_files_of_mnist(home):
    raw = home / "mnist" / "MNIST" / "raw"
    mnist_files(raw)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    with raises_sentence(ValueError, "damaged", "delete them and load again"):
        data.load("mnist")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError("no route"), "no route"),
        (RuntimeError("Error downloading x:\nTried y, got:\nno route"), "Error downloading x"),
    ],
)
def test_without_a_network(monkeypatch, error, said):
    def download(self):
        raise error

    monkeypatch.setattr(datasets.MNIST, "download", download)
    with raises_sentence(FileNotFoundError, "mnist", said, "mnist.npz", "x_train"):
        data.load("mnist")


def test_a_damaged_npz_file_is_closed(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=np.zeros((5, 28, 28), np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with raises_sentence(ValueError, "expected a .npz file of numbers"):
            arrays._read_npz(path, "x_train")
        gc.collect()
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("content", ["nothing", "text", "objects", "other", "cut"])
def test_a_wrong_npz_file(home, content):
    path = home / "mnist.npz"
    keras(path, (28, 28), 10)
    if content == "nothing":
        path.write_bytes(b"")
    elif content == "text":
        path.write_text("hello")
    elif content == "objects":
        np.savez(path, x_train=np.array([{}], object), y_train=0, x_test=0, y_test=0)
    elif content == "other":
        np.savez(path, x=np.zeros(3))
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with raises_sentence(ValueError, "expected a .npz file of numbers with the arrays x_train"):
        data.load("mnist")


def coil_tree(top: Path) -> None:
    for thing in (1, 2, 10):
        for angle in (0, 5, 100):
            picture(top / f"obj{thing}__{angle}.png", (thing, angle, 0))
    (top / "convertGroupppm2png.pl").write_text("not an image")


@pytest.mark.parametrize("layout", ["npz", "folder", "zip"])
def test_coil100(home, layout):
    if layout == "npz":
        y, angle = np.repeat([10, 2, 1], 3), np.tile([100, 0, 5], 3)
        x = np.stack([y, angle, 0 * y], 1).astype(np.uint8)[:, None, None] * np.ones((1, 10, 12, 1), np.uint8)
        np.savez(home / "coil100.npz", x=x, y=y, angle=angle)
    else:
        coil_tree(home / "coil100" / "coil-100")
        if layout == "zip":
            pack(home / "coil100", home / "coil-100.zip")
            (home / "coil100").mkdir()
            (home / "coil-100.zip").rename(home / "coil100" / "coil-100.zip")
    dataset = data.load("coil100")
    assert dataset.images.shape == (9, 10, 12, 3) and len(dataset.classes) == 100
    assert [dataset.classes[label] for label in dataset.labels] == ["obj1"] * 3 + ["obj2"] * 3 + ["obj10"] * 3
    np.testing.assert_array_equal(
        dataset.images[:, 0, 0, :2], [[t, a] for t in (1, 2, 10) for a in (0, 5, 100)]
    )
    assert data.load("coil100", size=16, grayscale=True).images.shape == (9, 16, 16)
