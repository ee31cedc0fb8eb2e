"""Any folder of images as a data set, and the medical benchmarks, which are folders of classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data_trees import FOLDERS, NAMES, classes_tree, mvtec_tree, pack, picture
from helpers import raises_sentence
from PIL import Image

from minigan import data, images, protocols
from minigan.data import medical


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


# --- medical sets ----------------------------------------------------------------------------------------


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
    assert medical._patient(name) == patient


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
    with raises_sentence(ValueError, "for the classes NonDemented", "got none"):
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
    x = data.load("folder", path=tmp_path / "x").images
    assert x[:, 0, 0].tolist() == [[255, 0, 0], [9, 9, 9]]


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


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("channels", [None, 1])
def test_a_folder_gives_the_same_pixels_to_detectors_and_as_a_data_set(tmp_path, size, colour, channels):
    """There was a time when one resized by torch and the other by Pillow, and a pixel in ten differed."""
    rng, top = np.random.default_rng(0), tmp_path / "photos"
    top.mkdir()
    for i, (height, width) in enumerate(((20, 31), (64, 40), (16, 16), (15, 90))):
        shape = (height, width, 3) if colour and i % 2 else (height, width)
        Image.fromarray(rng.integers(256, size=shape, dtype=np.uint8)).save(top / f"{i}.png")
    tensor = images.read_folder(top, size=size, channels=channels)
    dataset = data.load("folder", path=top, size=size, grayscale=channels == 1)
    assert torch.equal(tensor, images.as_tensor(dataset.images))
    assert torch.equal(tensor, images.as_tensor(top, size=size, channels=channels))
    assert tensor.shape == (4, 3 if colour and channels is None else 1, size, size)


def test_a_wrong_folder_is_refused(tmp_path):
    with raises_sentence(FileNotFoundError, "expected a folder of images", "which is not a folder"):
        data.load("folder", path=tmp_path / "nowhere")
    (tmp_path / "x").mkdir()
    with raises_sentence(FileNotFoundError, "expected image files in the folder", "got none"):
        data.load("folder", path=tmp_path / "x")
    picture(tmp_path / "x" / "a" / "0.png")
    picture(tmp_path / "x" / "1.png", size=(5, 5))
    with raises_sentence(ValueError, "expected all images in sub-folders", "got '1.png' beside them"):
        data.load("folder", path=tmp_path / "x")
    (tmp_path / "x" / "1.png").rename(tmp_path / "x" / "a" / "1.png")
    with raises_sentence(ValueError, "12 x 10 pixels in ", "0.png'", "5 x 5 in ", "1.png'", "size=64"):
        data.load("folder", path=tmp_path / "x")
    (tmp_path / "x" / "a" / "1.png").write_bytes(b"not an image")
    with raises_sentence(ValueError, "1.png', which cannot be read"):
        data.load("folder", path=tmp_path / "x")
    with raises_sentence(ValueError, "from 8 to 1024, got 4"):
        data.load("folder", path=tmp_path / "x", size=4)


# --- links ----------------------------------------------------------------------------------------------


def test_linked_folders_are_read_like_others(tmp_path):
    """As parts, as classes, inside of classes, and as the whole set; also when they form a circle."""
    for i, place in enumerate(("train/good", "test/good", "test/crack/deep", "ground_truth/crack/deep")):
        picture(
            tmp_path / "elsewhere" / place / ("0_mask.png" if i == 3 else "0.png"),
            10 * i,
            mark=(i, 0, 2 * i, 1),
        )
    top = tmp_path / "set"
    (top / "test").mkdir(parents=True)
    (top / "train").symlink_to(tmp_path / "elsewhere" / "train")
    (top / "ground_truth").symlink_to(tmp_path / "elsewhere" / "ground_truth")
    (top / "test" / "crack").mkdir()
    (top / "test" / "crack" / "deep").symlink_to(tmp_path / "elsewhere" / "test" / "crack" / "deep")
    (top / "test" / "good").symlink_to(tmp_path / "elsewhere" / "test" / "good")
    (top / "test" / "good" / "circle").symlink_to(top / "test" / "good")
    (tmp_path / "link").symlink_to(top)
    for path in (top, tmp_path / "link"):
        dataset = data.load("folder", path=path)
        assert dataset.name == "set" and dataset.classes == ("good", "crack") and dataset.defects
        assert dataset.official.tolist() == ["train", "test", "test"] and dataset.labels.tolist() == [0, 1, 0]
        assert dataset.images[:, 9, 0].tolist() == [0, 20, 10]
        assert dataset.masks.sum((1, 2)).tolist() == [0, 3, 0]


@pytest.mark.parametrize("link", ["dog", "train", "cat/deep", "cat/1.png"])
def test_links_that_lead_nowhere_are_named(tmp_path, link):
    picture(tmp_path / "pets" / "cat" / "0.png")
    (tmp_path / "pets" / link).symlink_to(tmp_path / "nowhere")
    with raises_sentence(FileNotFoundError, f"{link}', whose target is missing"):
        data.load("folder", path=tmp_path / "pets")


# --- masks ----------------------------------------------------------------------------------------------


def defect_set(top: Path, *masks: str, good: int = 1) -> Path:
    """A set with two scratched images 0.png and 1.png, and masks of these names, which mark one pixel."""
    picture(top / "train" / "good" / "0.png")
    for i in range(good):
        picture(top / "test" / "good" / f"{i}.png")
    for i in range(2):
        picture(top / "test" / "scratch" / f"{i}.png")
    for name in masks:
        picture(top / "ground_truth" / name, mark=(0, 0, 1, 1))
    return top


@pytest.mark.parametrize(
    "names",
    [
        ["scratch/0_mask.png", "scratch/1_mask.png"],
        ["scratch/0.png", "scratch/1.png"],
        ["scratch/0_mask.bmp", "scratch/1_mask.TIFF"],
        ["scratch/0.tif", "scratch/1_mask.gif", "good/0.png", "good/0_mask.png"],
    ],
)
def test_masks_are_found_by_name(tmp_path, names):
    dataset = data.load("folder", path=defect_set(tmp_path / "set", *names))
    assert dataset.labels.tolist() == [0, 0, 1, 1] and dataset.masks.sum((1, 2)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["scratch/0_mask.png"], "got none for 1 of them, '1.png' for one; name them"),
        (
            ["scratch/0_gt.png", "scratch/1_gt.png"],
            "none for 2 of them.*but 2 of no image, '0_gt.png' for one; name",
        ),
        (["scratches/0_mask.png", "0.png"], "none for 2 of them.*but 2 of no image, '0.png' for one"),
        (["scratch/0/0.png", "scratch/1/0.png"], "none for 2 of them.*but 2 of no image"),
        (["scratch/.hidden.png"], "none for 2 of them, '0.png' for one; name them like their images"),
    ],
)
def test_masks_that_are_missing_get_a_sentence(tmp_path, names, words):
    defect_set(tmp_path / "set", *names)
    with pytest.warns(UserWarning, match=f"expected a mask for every defective image.*{words}"):
        assert data.load("folder", path=tmp_path / "set").masks is None


@pytest.mark.parametrize(
    "stray", ["scratch/2_mask.png", "scratch/copy of 0.png", "crack/0.png", "x.png", "good/9.png"]
)
def test_masks_of_no_image_get_a_sentence(tmp_path, stray):
    names = ["scratch/0_mask.png", "scratch/1_mask.png", stray]
    words = f"expected only masks of its images.*got 1 of no image, '{Path(stray).name}' for one; rename"
    defect_set(tmp_path / "set", *names)
    with pytest.warns(UserWarning, match=words):
        assert data.load("folder", path=tmp_path / "set").masks.any((1, 2)).tolist() == [
            False,
            False,
            True,
            True,
        ]


def test_a_set_without_masks_has_none(tmp_path, recwarn):
    assert data.load("folder", path=defect_set(tmp_path / "set")).masks is None
    assert not recwarn.list


@pytest.mark.parametrize("size", [None, 8])
def test_masks_that_mark_nothing_get_a_sentence(tmp_path, size):
    defect_set(tmp_path / "set", "scratch/0_mask.png", "scratch/1_mask.png")
    picture(tmp_path / "set" / "ground_truth" / "scratch" / "1_mask.png")  # black
    with pytest.warns(
        UserWarning, match="marks something.*got none for 1 of 2, '.*scratch/1.png' for one; check"
    ):
        masks = data.load("folder", path=tmp_path / "set", size=size).masks
    assert masks.any((1, 2)).tolist() == [False, False, True, False]


@pytest.mark.parametrize("value", [1, 2, 127, 128, 255])
def test_masks_of_every_value_mark(tmp_path, value):
    """There was a time when 0 and 1 marked nothing, and nobody was told."""
    top = defect_set(tmp_path / "set", "scratch/0_mask.png", "scratch/1_mask.png")
    mask = np.zeros((10, 12), np.uint8)
    mask[2:4, 3:6] = value
    Image.fromarray(mask).save(top / "ground_truth" / "scratch" / "0_mask.png")
    np.testing.assert_array_equal(data.load("folder", path=top).masks[2], mask > 0)
