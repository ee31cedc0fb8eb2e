"""Where data sets come from: what is there, what is missing, and where to get it."""

import shutil
from pathlib import Path

import pytest
from data_trees import classes_tree, keras, mnist_files, mtd_tree, mvtec_tree, pack
from helpers import raises_sentence

from minigan import data
from minigan.data import sources


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


@pytest.mark.parametrize("name", [name for name, source in sources.SOURCES.items() if not source.torchvision])
def test_a_missing_set_says_where_to_get_it(home, name):
    with raises_sentence(FileNotFoundError, name, sources.SOURCES[name].page, f"{home / name}'"):
        data.load(name)


def test_every_source_has_a_loader_and_a_licence():
    assert set(sources.SOURCES) | {*data.BUNDLED, "folder"} == set(data.LOADERS)
    assert all(source.licence and source.page.startswith("http") for source in sources.SOURCES.values())


@pytest.mark.parametrize("name", sorted(sources.SOURCES))
def test_sizes_are_checked_before_anything_else(name):
    for size in (4, "64", 2.0):
        with raises_sentence(ValueError, "a whole number of pixels from 8 to 1024", f"got {size!r}"):
            data.load(name, size=size)


def test_status(home):
    assert {state for _, state, _ in data.status()} == {"on demand", "missing"}
    keras(home / "mnist.npz", (28, 28), 10)
    mnist_files(home / "fashion_mnist" / "FashionMNIST" / "raw")
    mvtec_tree(home / "mvtec" / "wrapped")
    mvtec_tree(home / "mvtec" / "wrapped", "screw")
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "master.zip")
    classes_tree(home / "alzheimer", "alzheimer")
    data.load("alzheimer", size=8)
    shutil.rmtree(home / "alzheimer")
    keras(home / "cifar10.npz", (32, 32, 3), 10)
    data.load("cifar10"), data.load("cifar10", size=16)
    (home / "cifar10.npz").unlink()
    rows = {name: (state, note) for name, state, note in data.status()}
    assert rows["mnist"] == ("there", str(home / "mnist.npz"))
    assert rows["fashion_mnist"][0] == "there" and rows["cifar100"][0] == "on demand"
    assert rows["mvtec"] == ("there", f"bottle, screw in {home / 'mvtec' / 'wrapped'}")
    assert rows["mtd"] == ("packed", str(home / "mtd" / "master.zip"))
    assert rows["alzheimer"] == ("kept", "alzheimer-8") and rows["cifar10"] == ("kept", "cifar10, cifar10-16")
    assert rows["retinal_oct"][0] == "missing" and "OCT2017.tar.gz" in rows["retinal_oct"][1]
    assert "ask the authors" in rows["kth_cellvideos"][1]
