"""The copies of data sets that are kept: read instead of the files, and made again when these change."""

import inspect
import json
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_trees import keras, leaves_tree, mtd_tree, mvtec_tree, picture, same
from helpers import raises_sentence

from minigan import data, image_files
from minigan.data import folders


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


def test_the_second_load_reads_one_file(home, monkeypatch):
    mvtec_tree(home / "mvtec")
    mtd_tree(home / "mtd")
    leaves_tree(home / "plantvillage")
    (home / "plantvillage" / "leaf_groups.json").write_text("{}")
    first = [data.load(name, size=16) for name in ("mvtec", "mtd", "plantvillage")]
    copies = {x.name for x in (home / "cache").glob("*.npz")}
    assert copies == {"mvtec-bottle-16.npz", "mtd-16.npz", "plantvillage-16.npz"}
    assert not list(home.rglob("*.tmp"))
    monkeypatch.setattr(image_files, "read_image", lambda *a, **k: pytest.fail("read again"))
    for a, b in zip(
        first, [data.load(name, size=16) for name in ("mvtec", "mtd", "plantvillage")], strict=True
    ):
        same(a, b)
    shutil.rmtree(home / "mvtec")  # the copy is enough
    same(first[0], data.load("mvtec", size=16))


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("change", ["new", "gone", "touched"])
def test_a_copy_is_made_anew_when_files_change(home, change, linked):
    mvtec_tree(home / "mvtec")
    path = home / "mvtec" / "bottle" / "train" / "good"
    if linked:
        path.rename(home / "elsewhere")
        path.symlink_to(home / "elsewhere")
    before = data.load("mvtec", size=16)
    if change == "gone":
        (path / "003.png").unlink()
    else:
        picture(path / ("004.png" if change == "new" else "003.png"), (1, 2, 3), (30, 30))
    after = data.load("mvtec", size=16)
    assert len(after) == len(before) + {"new": 1, "gone": -1, "touched": 0}[change]
    assert (after.images[:, 0, 0, 0] == 1).sum() == (change != "gone")


@pytest.mark.parametrize("content", ["", "text", "objects", "cut", "other"])
def test_a_damaged_copy_is_made_anew(home, content, monkeypatch):
    mvtec_tree(home / "mvtec")
    before, path = data.load("mvtec", size=16), home / "cache" / "mvtec-bottle-16.npz"
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif content == "objects":
        np.savez(path, about=np.array([{"options": 1}], object))
        monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled"))
    elif content == "other":
        np.savez(path, about=np.array("{}"), images=before.images)
    else:
        path.write_text(content)
    same(before, data.load("mvtec", size=16))
    with np.load(path) as arrays:
        assert "images" in arrays.files


def test_a_copy_of_other_options_is_not_taken(home):
    mvtec_tree(home / "mvtec")
    data.load("mvtec", size=16)
    (home / "cache" / "mvtec-bottle-16.npz").rename(home / "cache" / "mvtec-bottle-24.npz")
    assert data.load("mvtec", size=24).images.shape[1] == 24


def test_a_copy_is_written_whole_or_not_at_all(home, monkeypatch):
    mvtec_tree(home / "mvtec")

    def savez(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match="No space left"):
        data.load("mvtec")
    assert not [x for x in (home / "cache").iterdir() if x.suffix != ".lock"]


def test_two_at_once_read_the_files_once(home, monkeypatch):
    mvtec_tree(home / "mvtec")
    calls, read = [], folders.read_images

    def slowly(*arguments):
        calls.append(threading.get_ident())
        threading.Event().wait(0.2)
        return read(*arguments)

    monkeypatch.setattr(folders, "read_images", slowly)
    with ThreadPoolExecutor(2) as pool:
        same(*pool.map(data.load, ["mvtec"] * 2))
    assert len(calls) == 1


def test_options_that_are_off_are_as_good_as_absent(home):
    """A copy made before an option existed stays valid while the option is off."""
    keras(home / "mnist.npz", (28, 28), 10)
    first, path = data.load("mnist", size=16), home / "cache" / "mnist-16.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    about = json.loads(str(content["about"]))
    assert about["options"] == {"size": 16}
    for options, kept in (({"size": 16, "grayscale": False, "x": None}, True), ({"size": 16, "x": 1}, False)):
        np.savez(path, **content | {"about": np.array(json.dumps(about | {"options": options}))})
        written = path.stat().st_mtime_ns
        same(first, data.load("mnist", size=16))
        assert (path.stat().st_mtime_ns == written) == kept


def test_the_options_are_in_the_name_of_the_copy(home):
    keras(home / "cifar10.npz", (32, 32, 3), 10)
    leaves_tree(home / "plantvillage")
    (home / "plantvillage" / "leaf_groups.json").write_text("{}")
    data.load("cifar10"), data.load("cifar10", size=np.int64(16), grayscale=True)
    for species in (("pepper", "apple"), ["apple", "pepper"]):
        data.load("plantvillage", species=species, size=8)
    names = {x.name for x in (home / "cache").glob("*.npz")}
    assert names == {"cifar10.npz", "cifar10-16-grayscale.npz", "plantvillage-apple+pepper-8.npz"}


def test_a_changed_file_of_leaves_makes_another_copy(home):
    leaves_tree(home / "plantvillage")
    (home / "plantvillage" / "leaf_groups.json").write_text("{}")
    assert len(set(data.load("plantvillage", size=8).groups)) == 20
    (home / "plantvillage" / "leaf_groups.json").write_text(
        json.dumps({f"Apple___healthy/a{i}___RS_HL {i}.JPG": "1.0" for i in range(4)})
    )
    assert len(set(data.load("plantvillage", size=8).groups)) == 17


def test_a_decorated_function_shows_its_options_and_no_path():
    assert list(inspect.signature(data.mnist).parameters) == ["size"]
    assert list(inspect.signature(data.chest_xray).parameters) == ["size", "by_patient"]
    assert data.mnist.__name__ == "mnist" and data.mnist.__doc__.startswith("MNIST: 70,000")
    with raises_sentence(TypeError, "mnist() got an unexpected keyword argument 'sise'"):
        data.load("mnist", sise=3)


def test_every_data_set_is_loaded_without_torch(home):
    """From files as well as from copies; only what torchvision has downloaded needs it, once."""
    keras(home / "mnist.npz", (28, 28), 10)
    keras(home / "cifar100.npz", (32, 32, 3), 100, n=200)
    mvtec_tree(home / "mvtec")
    mtd_tree(home / "mtd")
    code = f"""
import sys
from minigan import data
for _ in range(2):
    data.load("mnist", size=16, n=10), data.load("cifar100", labels="coarse")
    data.load("mvtec", size=16), data.load("mtd", size=16), data.load("digits"), data.load("textures")
    data.load("folder", path={str(home / "mtd" / "MT_Free")!r}, size=16), data.load("color_digits", size=8)
print(set(sys.modules) & {{"torch", "torchvision"}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert len(list((home / "cache").glob("*.npz"))) == 4
