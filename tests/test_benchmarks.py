"""The benchmarks, on small trees and archives in the layout in which each is published; no network."""

import gzip
import io
import json
import pickle
import shutil
import stat
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from helpers import raises_sentence
from PIL import Image
from torchvision import datasets

from minigan import benchmarks, data, datafiles, protocols, sources
from minigan.defect_sets import tile_groups


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


def picture(path: Path, value=0, size=(12, 10), mark: tuple | None = None) -> Path:
    """An image of one grey level or colour, `size` = (width, height); `mark` is a white box in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB" if isinstance(value, tuple) else "L", size, value)
    if mark:
        image.paste(255, mark)
    image.save(path)
    return path


def pack(folder: Path, archive: Path) -> None:
    """Everything in the folder into a .zip or .tar.* file; the folder is deleted."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in sorted(folder.rglob("*")):
                out.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, f"w:{archive.suffix[1:]}") as out:
            out.add(folder, ".")
    shutil.rmtree(folder)


# --- arrays ---------------------------------------------------------------------------------------------


def keras(path: Path, shape: tuple[int, ...], classes: int, n: int = 40) -> dict[str, np.ndarray]:
    """Write a file as Keras has it; the labels are a column, as some of these files have them."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(256, size=(n, *shape), dtype=np.uint8),
        "y_train": (np.arange(n) % classes).astype(np.uint8)[:, None],
        "x_test": rng.integers(256, size=(n // 2, *shape), dtype=np.uint8),
        "y_test": (np.arange(n // 2) % classes).astype(np.uint8)[:, None],
    }
    np.savez(path, **arrays)
    return arrays


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
    with raises_sentence(ValueError, "labels = 'rough'", "fine", "coarse"):
        data.load("cifar100", labels="rough")


def idx(path: Path, values: np.ndarray) -> None:
    """The format of the MNIST files: a magic number, the shape, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array([0x0800 + values.ndim, *values.shape], ">i4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def mnist_files(raw: Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(256, size=(9, 28, 28), dtype=np.uint8)
    for part, rows in (("train", slice(6)), ("t10k", slice(6, 9))):
        idx(raw / f"{part}-images-idx3-ubyte", images[rows])
        idx(raw / f"{part}-labels-idx1-ubyte", np.arange(9)[rows])
    return images


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
    with raises_sentence(ValueError, "damaged", "delete it and load again"):
        data.load("cifar10")


def test_damaged_files_of_mnist(home):
    raw = home / "mnist" / "MNIST" / "raw"
    mnist_files(raw)
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    with raises_sentence(ValueError, "damaged", "delete it and load again"):
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


# --- defects --------------------------------------------------------------------------------------------


def mtd_tree(top: Path) -> None:
    """Four tiles under settings 1 to 3, frames apart as published; one has a crack in two photographs."""
    for tile, start in enumerate((100, 1000, 1130, 5000)):
        for setting in (1, 2, 3):
            kind = "MT_Crack" if tile == 2 and setting > 1 else "MT_Free"
            stem = top / kind / "Imgs" / f"exp{setting}_num_{start + 20 * setting}"
            picture(stem.with_suffix(".jpg"), 40 * tile + 10, (20 + tile, 40))
            picture(
                stem.with_suffix(".png"), 0, (20 + tile, 40), (0, 0, 5, 1) if kind == "MT_Crack" else None
            )
    for kind in ("Blowhole", "Break", "Fray", "Uneven"):
        stem = top / f"MT_{kind}" / "Imgs" / f"exp1_num_{9000 + 100 * len(kind)}"
        picture(stem.with_suffix(".jpg"), 200)
        picture(stem.with_suffix(".png"), 0, mark=(2, 2, 4, 4))


def test_mtd(home):
    mtd_tree(home / "mtd" / "Magnetic-tile-defect-datasets.-master")
    dataset = data.load("mtd", size=16)
    assert dataset.images.shape == dataset.masks.shape == (16, 16, 16) and dataset.defects
    assert dataset.classes == ("good", "blowhole", "break", "crack", "fray", "uneven")
    assert np.bincount(dataset.labels).tolist() == [10, 1, 1, 2, 1, 1] and dataset.official is None
    np.testing.assert_array_equal(dataset.masks.any((1, 2)), dataset.labels > 0)  # thin cracks are kept
    tile = (dataset.images[:, 8, 8].astype(int) - 10 + 3) // 40  # the grey level says which it is
    for number in range(4):
        assert len(set(dataset.groups[tile == number])) == 1
    assert len(set(dataset.groups)) == 8
    split = protocols.defects(dataset, validation=0)
    assert not set(dataset.groups[split.train_index]) & set(dataset.groups[split.test_index])


def test_mtd_with_a_file_of_groups(home):
    mtd_tree(home / "mtd")
    keys = [x.relative_to(home / "mtd").as_posix() for x in (home / "mtd").rglob("*.jpg")]
    known = {key: 7 if "MT_Free" in key else None for key in keys}
    (home / "mtd" / "groups.json").write_text(json.dumps(known))
    groups = data.load("mtd").groups
    assert len(set(groups[:10])) == 1 and len(set(groups)) == 7  # those without a group are alone
    (home / "mtd" / "groups.json").write_text("[1]")
    with raises_sentence(ValueError, "groups.json", "JSON"):
        data.load("mtd")


def test_mtd_with_names_that_say_nothing(home):
    mtd_tree(home / "mtd")
    picture(home / "mtd" / "MT_Free" / "Imgs" / "tile.jpg")
    for _ in range(2):  # also when the kept copy is read
        with pytest.warns(UserWarning, match="random split puts some on both sides"):
            assert data.load("mtd").groups is None


def test_mtd_at_random_leaves_the_tiles_out(home, monkeypatch, recwarn):
    mtd_tree(home / "mtd")
    by_tile = data.load("mtd", size=16)
    monkeypatch.setattr(datafiles, "read_images", lambda *a: pytest.fail("read twice"))
    at_random = data.load("mtd", size=16, by_tile=False)
    assert at_random.groups is None and not recwarn.list  # who asks for it need not be warned
    np.testing.assert_array_equal(at_random.images, by_tile.images)
    np.testing.assert_array_equal(at_random.masks, by_tile.masks)
    np.testing.assert_array_equal(at_random.labels, by_tile.labels)
    assert data.load("mtd", size=16).groups is not None


def test_tiles_by_name():
    names = [
        "exp6_num_310.jpg",
        "a/exp1_num_100.jpg",
        "exp3_num_180.jpg",
        "exp2_num_240.png",
        "exp2_num_250.png",
    ]
    assert tile_groups(names).tolist() == [0, 0, 0, 0, 0]  # 60 frames, or a rising setting: no new tile
    assert tile_groups(["exp2_num_100", "exp2_num_161", "exp3_num_900"]).tolist() == [0, 1, 1]
    assert tile_groups(["exp2_num_100", "tile"]) is None


def mvtec_tree(top: Path, category: str = "bottle", value=(200, 100, 50), masks: int = 2) -> None:
    for i in range(4):
        picture(top / category / "train" / "good" / f"{i:03}.png", value)
    for i in range(2):
        picture(top / category / "test" / "good" / f"{i:03}.png", value)
        picture(top / category / "test" / "broken_large" / f"{i:03}.png", value)
        if i < masks:
            mask = top / category / "ground_truth" / "broken_large" / f"{i:03}_mask.png"
            picture(mask, 0, mark=(0, 0, 1, 1 + i))
    (top / category / "license.txt").write_text("...")


def test_mvtec(home):
    mvtec_tree(home / "mvtec")
    mvtec_tree(home / "mvtec", "screw", 90)
    dataset = data.load("mvtec", category="bottle", size=8)
    assert dataset.name == "mvtec (bottle)" and dataset.images.shape == (8, 8, 8, 3) and dataset.defects
    assert (
        dataset.classes == ("good", "broken_large")
        and dataset.official.tolist() == ["train"] * 4 + ["test"] * 4
    )
    assert dataset.labels[:4].sum() == 0 and sorted(dataset.labels[4:]) == [0, 0, 1, 1]
    assert (dataset.images == (200, 100, 50)).all()
    bad = np.flatnonzero(dataset.labels)
    assert dataset.masks[bad].sum((1, 2)).tolist() == [1, 2]  # one and two pixels, of 12 x 10
    assert not dataset.masks[dataset.labels == 0].any()
    split = protocols.defects(dataset, validation=0)
    assert len(split.train) == len(split.test) == 4 and split.masks.any((1, 2)).sum() == 2
    assert data.load("mvtec", category="bottle", size=24, grayscale=True).images.shape == (8, 24, 24)
    assert data.load("mvtec", category="screw", size=24).images.shape == (8, 24, 24)  # grey as published
    with raises_sentence(
        FileNotFoundError, "mvtec (wood) is not here", sources.SOURCES["mvtec"].page, "mvtec'"
    ):
        data.load("mvtec", category="wood")
    with raises_sentence(ValueError, "no category 'bottles'", "bottle, cable"):
        data.load("mvtec", category="bottles")


@pytest.mark.parametrize("masks", [0, 1])
def test_masks_that_do_not_belong_to_the_images_are_left_out(home, masks):
    mvtec_tree(home / "mvtec", masks=masks)
    if masks:
        with pytest.warns(UserWarning, match="1 defective images have no mask.*'001.png'"):
            assert data.load("mvtec").masks is None
    else:
        assert data.load("mvtec").masks is None


def leaves_tree(top: Path, raw: str = "") -> None:
    for i in range(4):
        picture(top / raw / "Apple___healthy" / f"a{i}___RS_HL {i}.JPG", (0, 200, 0))
        picture(top / raw / "Apple___Apple_scab" / f"b{i}___FREC_Scab {i}.JPG", (90, 200, 0))
        picture(top / raw / "Pepper,_bell___healthy" / f"c{i}___JR_HL {i}.JPG", (0, 90, 0))
        picture(top / raw / "Pepper,_bell___Bacterial_spot" / f"d{i}___NREC_B.Spot {i}.JPG", (0, 90, 90))
        picture(top / raw / "Orange___Haunglongbing_(Citrus_greening)" / f"e{i}___X {i}.JPG", (200, 90, 0))


def test_plantvillage(home):
    top = home / "plantvillage" / "PlantVillage-Dataset-master"
    for kind in ("color", "grayscale", "segmented"):
        leaves_tree(top, f"raw/{kind}")
    shutil.rmtree(top / "raw" / "segmented" / "Apple___healthy")
    known = {f"rs_hl {i}": ["Soybean___healthy:::9.0", f"Apple___healthy:::{i // 2}.0"] for i in range(4)}
    known |= {"frec_scab 0": ["Apple_Old name:::5.0"], "frec_scab 1": ["Apple_Old name:::5.0"]}
    known |= {f"frec_scab {i}": ["Peach:::1", "Corn:::1"] for i in (2, 3)}  # of two other species: no help
    (top / "leaf_grouping").mkdir()
    (top / "leaf_grouping" / "leaf-map.json").write_text(json.dumps(known))
    dataset = data.load("plantvillage", size=16)
    assert (
        dataset.images.shape == (20, 16, 16, 3) and dataset.defects and len(set(dataset.groups)) == 2 + 3 + 12
    )
    assert dataset.classes == (
        "healthy",
        "apple scab",
        "orange haunglongbing (citrus greening)",
        "pepper bacterial spot",
    )
    assert dataset.subclass_names == ("apple", "orange", "pepper")
    assert "of       apple (8), orange (4), pepper (8)" in repr(dataset)
    red = dataset.images[:, 0, 0, 0]
    assert (
        abs(red[dataset.labels == 1].astype(int) - 90).max() < 5
        and dataset.images[dataset.labels == 0].max() > 150
    )
    pairs = {
        (dataset.classes[a], dataset.subclass_names[b])
        for a, b in zip(dataset.labels, dataset.subclasses, strict=True)
    }
    assert {("healthy", "apple"), ("healthy", "pepper"), ("apple scab", "apple")} < pairs and len(pairs) == 5

    apple = data.load("plantvillage", species="apple", size=16)
    assert (
        apple.name == "plantvillage (apple)"
        and apple.classes == ("healthy", "apple scab")
        and len(apple) == 8
    )
    groups = apple.groups[apple.labels == 0]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    split = protocols.defects(apple, validation=0)
    assert not set(apple.groups[split.train_index]) & set(apple.groups[split.test_index])
    both = data.load("plantvillage", species=("pepper", "apple"), size=16, grayscale=True)
    assert both.images.shape == (16, 16, 16) and both.subclass_names == ("apple", "pepper")
    for wrong in ("appel", []):
        with raises_sentence(ValueError, "no species", "apple, orange, pepper"):
            data.load("plantvillage", species=wrong)


def test_plantvillage_with_a_plain_file_of_leaves_or_none(home):
    top = home / "plantvillage"
    leaves_tree(top)
    with pytest.warns(UserWarning, match="one leaf"):
        assert data.load("plantvillage", size=16).groups is None
    names = [x.relative_to(top).as_posix() for x in top.rglob("*.JPG")]
    (top / "leaf_groups.json").write_text(
        json.dumps({x: None if x.startswith("Orange") else "1.0" for x in names})
    )
    groups = data.load("plantvillage", size=16).groups  # the same number in two folders is not the same leaf
    assert len(set(groups)) == 4 + 4


# --- classes --------------------------------------------------------------------------------------------

NAMES = {
    "alzheimer": ("Alzheimer_s Dataset", "nonDem{i}.jpg"),
    "chest_xray": ("chest_xray", "person{i}_virus_7.jpeg"),
    "retinal_oct": ("OCT2017 ", "CNV-{i}-2.jpeg"),
    "kth_cellvideos": ("crops", "{i}.png"),
}
FOLDERS = {
    "alzheimer": ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented"),
    "chest_xray": ("NORMAL", "PNEUMONIA"),
    "retinal_oct": ("NORMAL", "CNV", "DME", "DRUSEN"),
    "kth_cellvideos": ("normal", "anomalous"),
}


def classes_tree(top: Path, name: str, parts=("train", "test", "val")) -> None:
    """Two images for each class and part, in colour: they are made grey."""
    for part in parts:
        for label, kind in enumerate(FOLDERS[name]):
            for i in range(2):
                file = NAMES[name][1].format(i=10 * label + i)
                picture(top / NAMES[name][0] / part / kind / file, (50 * label + 10,) * 3, (15, 11))
        picture(top / NAMES[name][0] / part / FOLDERS[name][0] / "._hidden.jpeg")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("archive", [None, "archive.zip", "x.tar.gz"])
def test_classes_with_an_official_split(home, name, archive):
    if archive:
        classes_tree(home / "tree", name)
        pack(home / "tree", home / name / archive)
    else:
        classes_tree(home / name, name)
    dataset, n = data.load(name, size=16), len(FOLDERS[name])
    assert (
        dataset.images.shape == (6 * n, 16, 16) and dataset.classes == FOLDERS[name] and not dataset.defects
    )
    np.testing.assert_allclose(dataset.images[:, 3, 3], 50 * dataset.labels + 10, atol=2)
    assert (dataset.official == "train").sum() == 2 * n and (dataset.official == "test").sum() == 4 * n
    if name in ("chest_xray", "retinal_oct"):
        assert len(set(dataset.groups)) == 2 * n
        assert data.load(name, size=16, by_patient=False).groups is None
    else:
        assert dataset.groups is None
        assert len(protocols.one_class(dataset, FOLDERS[name][0], validation=0).test) == 4 * n


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person12_bacteria_46.jpeg", "person12"),
        ("person12_virus_47.jpeg", "person12"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("NORMAL2-IM-0115-0001-0002.jpeg", "NORMAL2-IM-0115"),
        ("CNV-1016042-1.jpeg", "1016042"),
        ("DME-1016042-3.jpeg", "1016042"),
        ("scan.jpeg", None),
    ],
)
def test_patients_by_name(name, patient):
    assert benchmarks._patient(name) == patient


def test_lung_histopathology(home):
    top = home / "lung_histopathology" / "lung_colon_image_set"
    for label, kind in enumerate(("lung_n", "lung_aca", "lung_scc")):
        for i in range(1, 21):
            picture(
                top / "lung_image_sets" / kind / f"{kind.replace('_', '')}{i}.jpeg",
                (i, 60 * label, 0),
                (8, 8),
            )
    picture(top / "colon_image_sets" / "colon_n" / "colonn1.jpeg", 0)
    dataset = data.load("lung_histopathology", size=8)
    assert dataset.images.shape == (60, 8, 8, 3) and dataset.classes == ("lung_n", "lung_aca", "lung_scc")
    last = dataset.images[dataset.official == "test"][:, 0, 0, 0]
    np.testing.assert_allclose(last, [8, 9] * 3, atol=2)  # ..., 7, 8, 9 in the order of their names
    assert data.load("lung_histopathology", size=8, grayscale=True).images.shape == (60, 8, 8)


def test_a_class_that_is_not_there(home):
    classes_tree(home / "alzheimer", "alzheimer", ("train",))
    (home / "alzheimer" / NAMES["alzheimer"][0] / "test").mkdir()
    with raises_sentence(ValueError, "has no sub-folder for any of the classes NonDemented"):
        data.load("alzheimer")


# --- any folder -----------------------------------------------------------------------------------------


def test_a_folder_of_classes(tmp_path):
    for i, kind in enumerate(("cat", "dog")):
        for j in range(3 + i):
            picture(tmp_path / "pets" / kind / "deep" / f"{j}.png", 100 * i + j)
    dataset = data.load("folder", path=tmp_path / "pets")
    assert (
        dataset.name == "pets" and dataset.classes == ("cat", "dog") and dataset.images.shape == (7, 10, 12)
    )
    assert dataset.images[:, 0, 0].tolist() == [0, 1, 2, 100, 101, 102, 103] and dataset.official is None
    picture(tmp_path / "pets" / "dog" / "z.png", (255, 0, 0))
    dataset = data.load("folder", path=str(tmp_path / "pets"), size=8)
    assert dataset.images.shape == (8, 8, 8, 3) and dataset.images[-1, 0, 0].tolist() == [255, 0, 0]
    assert dataset.images[4, 0, 0].tolist() == [101] * 3 and dataset.labels.tolist() == [0] * 3 + [1] * 5
    assert data.load("folder", path=tmp_path / "pets", grayscale=True).images.shape == (8, 10, 12)
    assert not (tmp_path / "data" / "cache").exists()


def test_colour_first_and_grey_after(tmp_path):
    picture(tmp_path / "x" / "0.png", (255, 0, 0))
    picture(tmp_path / "x" / "1.png", 9)
    images = data.load("folder", path=tmp_path / "x").images
    assert images[:, 0, 0].tolist() == [[255, 0, 0], [9, 9, 9]]


@pytest.mark.parametrize("name", ["flat", "flat parts", "defects", "parts", "good and bad"])
def test_a_folder_is_recognised(tmp_path, name):
    top = tmp_path / "set"
    if name == "flat":
        picture(top / "0.png")
    elif name == "flat parts":
        picture(top / "train" / "0.png")
        picture(top / "test" / "0.png")
    elif name == "defects":
        mvtec_tree(tmp_path, "set")
    else:
        a, b = ("bad", "good") if name == "good and bad" else ("a", "b")
        for part, kind in (("train", b), ("test", a), ("test", b), ("val", b)):
            picture(top / part / kind / "0.png")
        if name == "good and bad":  # taught both: no defect set
            picture(top / "train" / "bad" / "0.png")
    dataset = data.load("folder", path=top)
    classes = {"defects": ("good", "broken_large"), "parts": ("a", "b"), "good and bad": ("bad", "good")}
    classes = classes.get(name, ("set",))
    assert dataset.classes == classes and dataset.defects == (name == "defects")
    assert (dataset.masks is not None) == (name == "defects")
    official = {"flat parts": ["train", "test"], "parts": ["train", "test", "test", "test"]}
    if name in official:
        assert dataset.official.tolist() == official[name]


def test_what_a_wrong_folder_is_told(tmp_path):
    with raises_sentence(FileNotFoundError, "there is no folder"):
        data.load("folder", path=tmp_path / "nowhere")
    (tmp_path / "x").mkdir()
    with raises_sentence(FileNotFoundError, "holds no image file"):
        data.load("folder", path=tmp_path / "x")
    picture(tmp_path / "x" / "a" / "0.png")
    picture(tmp_path / "x" / "1.png", size=(5, 5))
    with raises_sentence(ValueError, "'1.png' lies in", "beside sub-folders"):
        data.load("folder", path=tmp_path / "x")
    (tmp_path / "x" / "1.png").rename(tmp_path / "x" / "a" / "1.png")
    with raises_sentence(ValueError, "0.png' is 12 x 10 pixels", "1.png' is 5 x 5", "size=64"):
        data.load("folder", path=tmp_path / "x")
    (tmp_path / "x" / "a" / "1.png").write_bytes(b"not an image")
    with raises_sentence(ValueError, "cannot read the image", "1.png"):
        data.load("folder", path=tmp_path / "x")
    with raises_sentence(ValueError, "8 to 1024 pixels, not 4"):
        data.load("folder", path=tmp_path / "x", size=4)


# --- copies ---------------------------------------------------------------------------------------------


def same(a: data.Dataset, b: data.Dataset) -> None:
    for field in datafiles.FIELDS:
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert [a.name, a.classes, a.defects, a.subclass_names] == [
        b.name,
        b.classes,
        b.defects,
        b.subclass_names,
    ]


def test_the_second_load_reads_one_file(home, monkeypatch):
    mvtec_tree(home / "mvtec")
    mtd_tree(home / "mtd")
    leaves_tree(home / "plantvillage")
    (home / "plantvillage" / "leaf_groups.json").write_text("{}")
    first = [data.load(name, size=16) for name in ("mvtec", "mtd", "plantvillage")]
    copies = {x.name for x in (home / "cache").glob("*.npz")}
    assert copies == {"mvtec-bottle-16.npz", "mtd-16.npz", "plantvillage-16.npz"}
    assert not list(home.rglob("*.tmp"))
    monkeypatch.setattr(datafiles, "read_images", lambda *a, **k: pytest.fail("read again"))
    for a, b in zip(
        first, [data.load(name, size=16) for name in ("mvtec", "mtd", "plantvillage")], strict=True
    ):
        same(a, b)
    shutil.rmtree(home / "mvtec")  # the copy is enough
    same(first[0], data.load("mvtec", size=16))


@pytest.mark.parametrize("change", ["new", "gone", "touched"])
def test_a_copy_is_made_anew_when_files_change(home, change):
    mvtec_tree(home / "mvtec")
    before, path = data.load("mvtec", size=16), home / "mvtec" / "bottle" / "train" / "good"
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
    calls, read = [], datafiles.read_images

    def slowly(*arguments):
        calls.append(threading.get_ident())
        threading.Event().wait(0.2)
        return read(*arguments)

    monkeypatch.setattr(datafiles, "read_images", slowly)
    with ThreadPoolExecutor(2) as pool:
        same(*pool.map(data.load, ["mvtec"] * 2))
    assert len(calls) == 1


# --- archives -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_archives_are_unpacked_once(home, archive):
    if archive == "a.tar":
        mvtec_tree(home / "tree")
        with tarfile.open(home / "a.tar", "w") as out:
            out.add(home / "tree", "mvtec_anomaly_detection")
        (home / "mvtec").mkdir()
        (home / "a.tar").rename(home / "mvtec" / "a.tar")
    else:
        mvtec_tree(home / "tree" / "mvtec_anomaly_detection")
        pack(home / "tree", home / "mvtec" / archive)
    assert data.load("mvtec", size=16).masks.any()
    assert (home / "mvtec" / "a" / "mvtec_anomaly_detection" / "bottle").is_dir()
    assert not list((home / "mvtec").glob(".unpacking*"))
    (home / "mvtec" / archive).write_bytes(b"no longer needed")
    assert data.load("mvtec", size=24).masks.any()


def test_other_categories_in_other_archives(home):
    for category in ("bottle", "wood"):
        mvtec_tree(home / "tree", category)
        pack(home / "tree", home / "mvtec" / f"{category}.zip")
    assert data.load("mvtec", category="wood", size=16).name == "mvtec (wood)"
    with raises_sentence(FileNotFoundError, "mvtec (screw)"):
        data.load("mvtec", category="screw")


def test_an_archive_of_something_else(home):
    (home / "mtd").mkdir()
    zipped(home / "mtd" / "a.zip", "12:30.txt")  # a colon alone is no drive
    zipfile.ZipFile(home / "mtd" / "b.zip", "w").close()  # nothing in it
    with raises_sentence(FileNotFoundError, "mtd is not here yet"):
        data.load("mtd")
    assert {x.name for x in (home / "mtd" / "a").iterdir()} == {"fine.txt", "12:30.txt"}


def zipped(path: Path, name: str, link: bool = False) -> None:
    member = zipfile.ZipInfo(name)
    if link:
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("fine.txt", "fine")
        out.writestr(member, "../../outside")


def tarred(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "../../outside"
    member.size = 4 if kind == tarfile.REGTYPE else 0
    with tarfile.open(path, "w:gz") as out:
        out.addfile(tarfile.TarInfo("fine.txt"), io.BytesIO())
        out.addfile(member, io.BytesIO(b"evil"))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt", "a/C:evil.txt"]
)
def test_no_member_leaves_the_folder(home, kind, name):
    archive = home / "mtd" / f"bad.{kind}"
    archive.parent.mkdir()
    (zipped if kind == "zip" else tarred)(archive, name)
    with raises_sentence(ValueError, "would land outside its folder"):
        data.load("mtd")
    assert {x.name for x in home.rglob("*") if not x.name.startswith(".")} == {
        "mtd",
        archive.name,
        "cache",
        "mtd-64.lock",
    }
    assert not list(home.parent.rglob("evil*"))


@pytest.mark.parametrize("kind", ["zip", tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(home, kind):
    archive = home / "mtd" / ("bad.zip" if kind == "zip" else "bad.tar.gz")
    archive.parent.mkdir()
    if kind == "zip":
        zipped(archive, "link", link=True)
    else:
        tarred(archive, "link", kind)
    with raises_sentence(ValueError, "'link'", "is a link or a device"):
        data.load("mtd")
    assert not (home / "mtd" / "bad").exists()


@pytest.mark.parametrize("archive", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_archive_is_told_so(home, archive, damage):
    noise = np.random.default_rng(0).bytes(200_000)
    (home / "tree").mkdir()
    (home / "tree" / "noise.bin").write_bytes(noise)
    path = home / "mtd" / archive
    if archive == "a.tar":
        path.parent.mkdir()
        with tarfile.open(path, "w") as out:
            out.add(home / "tree" / "noise.bin", "noise.bin")
    else:
        pack(home / "tree", path)
    content = bytearray(path.read_bytes())
    if damage == "flipped" and archive == "a.tar":
        content[0:8] = b"\xff" * 8  # plain tar protects its headers only
    for place in range(50_000, 50_100) if damage == "flipped" else ():
        content[place] ^= 255
    path.write_bytes({"empty": b"", "text": b"<html>", "cut": content[:60_000]}.get(damage, content))
    with raises_sentence(ValueError, archive, "damaged or not complete", "get it again"):
        data.load("mtd")
    assert not (home / "mtd" / "a").exists() and not list((home / "mtd").glob(".unpacking*"))


@pytest.mark.parametrize("kind", ["", ":gz"])
@pytest.mark.parametrize(
    "damage", ["cut between members", "a damaged header", "other members behind the end"]
)
def test_a_tar_that_seems_to_end_early(home, kind, damage):
    """tarfile itself takes any of these for a complete archive."""
    plain, path = io.BytesIO(), home / "mtd" / "a.tar.gz" if kind else home / "mtd" / "a.tar"
    with tarfile.open(fileobj=plain, mode="w") as out:
        for name in "abc":
            out.addfile(tarfile.TarInfo(name))  # 512 bytes each, no content
    content = bytearray(plain.getvalue())
    if damage == "cut between members":
        content = content[:1024]
    elif damage == "a damaged header":
        content[512:518] = b"\xff" * 6
    else:
        content = content[:512] + bytes(1024) + content[512:]
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if kind else content)
    with raises_sentence(ValueError, "damaged or not complete", "get it again"):
        data.load("mtd")


def test_a_full_disk_is_not_a_damaged_archive(home, monkeypatch):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        data.load("mtd")
    assert not (home / "mtd" / "a").exists()


def test_a_locked_zip_is_told_so(home):
    archive = home / "mtd" / "a.zip"
    archive.parent.mkdir()
    zipped(archive, "secret.txt")
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the bit that says: a password is needed
    content[6] |= 1
    archive.write_bytes(content)
    with raises_sentence(ValueError, "password"):
        data.load("mtd")


def test_what_a_killed_process_left_is_removed(home):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")
    (home / "mtd" / ".unpacking-a" / "MT_Free").mkdir(parents=True)
    (home / "mtd" / ".unpacking-a" / "old.txt").write_text("half")
    assert len(data.load("mtd", size=16)) == 16
    assert not (home / "mtd" / "a" / "old.txt").exists()


def test_two_at_once_unpack_once(home):
    mtd_tree(home / "tree")
    pack(home / "tree", home / "mtd" / "a.zip")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(datafiles.unpack, [home / "mtd" / "a.zip"] * 3)) == {home / "mtd" / "a"}
    assert len(list((home / "mtd" / "a").rglob("*.jpg"))) == 16


# --- what is there --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, source in sources.SOURCES.items() if not source.automatic])
def test_a_missing_set_says_where_to_get_it(home, name):
    with raises_sentence(FileNotFoundError, name, sources.SOURCES[name].page, f"{home / name}'"):
        data.load(name)


def test_every_source_has_a_loader_and_a_licence():
    assert set(sources.SOURCES) | {"folder"} == set(benchmarks.LOADERS)
    assert all(source.licence and source.page.startswith("http") for source in sources.SOURCES.values())


@pytest.mark.parametrize("name", sorted(sources.SOURCES))
def test_sizes_are_checked_before_anything_else(name):
    for size in (4, "64", 2.0):
        with raises_sentence(ValueError, "from 8 to 1024 pixels"):
            data.load(name, size=size)


def test_status(home):
    assert {state for _, state, _ in sources.status()} == {"on demand", "missing"}
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
    rows = {name: (state, note) for name, state, note in sources.status()}
    assert rows["mnist"] == ("there", str(home / "mnist.npz"))
    assert rows["fashion_mnist"][0] == "there" and rows["cifar100"][0] == "on demand"
    assert rows["mvtec"] == ("there", f"bottle, screw in {home / 'mvtec' / 'wrapped'}")
    assert rows["mtd"] == ("packed", str(home / "mtd" / "master.zip"))
    assert rows["alzheimer"] == ("kept", "alzheimer-8") and rows["cifar10"] == ("kept", "cifar10, cifar10-16")
    assert rows["retinal_oct"][0] == "missing" and "OCT2017.tar.gz" in rows["retinal_oct"][1]
    assert "ask the authors" in rows["kth_cellvideos"][1]


def test_gz_files_are_no_archives_of_ours(home):
    """torchvision's own downloads lie in the same folder and are its business."""
    (home / "mnist").mkdir()
    (home / "mnist" / "x.gz").write_bytes(gzip.compress(b"x"))
    assert datafiles.archives(home / "mnist") == []
