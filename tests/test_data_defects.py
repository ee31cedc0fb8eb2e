"""Benchmarks of good and defective things: MVTec AD, magnetic tiles and leaves, on small trees."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_trees import leaves_tree, mtd_tree, mvtec_tree, picture
from helpers import raises_sentence
from PIL import Image

from minigan import data, image_files, protocols
from minigan.data.sources import SOURCES


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


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


@pytest.mark.parametrize("value", [1, 2, 200])
def test_mtd_with_masks_of_other_values(home, value):
    mtd_tree(home / "mtd")
    for mask in (home / "mtd").rglob("*.png"):
        marked = np.asarray(Image.open(mask)) > 0
        Image.fromarray(marked * np.uint8(value)).save(mask)
    dataset = data.load("mtd", size=16)
    np.testing.assert_array_equal(dataset.masks.any((1, 2)), dataset.labels > 0)


@pytest.mark.parametrize("how", ["black", "absent"])
def test_mtd_with_masks_that_mark_nothing(home, how):
    mtd_tree(home / "mtd")
    for mask in (home / "mtd" / "MT_Crack").rglob("*.png"):
        picture(mask, 0, (22, 40))
        if how == "absent":
            mask.unlink()
    with pytest.warns(
        UserWarning, match="marks something.*got none for 2 of 6, '.*MT_Crack/.*check their masks"
    ):
        data.load("mtd", size=16)


def test_mtd_with_masks_of_no_photograph(home):
    mtd_tree(home / "mtd")
    (home / "mtd" / "MT_Break" / "Imgs" / "other.png").write_bytes(b"not read")
    with pytest.warns(UserWarning, match="named like the photographs, got 1 .*other.png' for one; rename"):
        assert len(data.load("mtd", size=16)) == 16


def test_mtd_without_its_photographs(home):
    picture(home / "mtd" / "MT_Free" / "Imgs" / "exp1_num_1.png")
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        picture(home / "mtd" / f"MT_{kind}" / "Imgs" / "exp1_num_1.png")
    with raises_sentence(ValueError, "expected image files of mtd, got none"):
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
    monkeypatch.setattr(image_files, "read_image", lambda *a: pytest.fail("read twice"))
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
    assert data.tile_groups(names).tolist() == [0, 0, 0, 0, 0]  # 60 frames, or a rising setting: no new tile
    assert data.tile_groups(["exp2_num_100", "exp2_num_161", "exp3_num_900"]).tolist() == [0, 1, 1]
    assert data.tile_groups(["exp2_num_100", "tile"]) is None


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
        FileNotFoundError, "the files of mvtec (wood), got none", SOURCES["mvtec"].page, "mvtec'"
    ):
        data.load("mvtec", category="wood")
    with raises_sentence(ValueError, "expected a category out of bottle, cable", "got 'bottles'"):
        data.load("mvtec", category="bottles")


@pytest.mark.parametrize("masks", [0, 1])
def test_masks_that_do_not_belong_to_the_images_are_left_out(home, masks):
    mvtec_tree(home / "mvtec", masks=masks)
    if masks:
        with pytest.warns(UserWarning, match="none for 1 of them, '001.png' for one; name them"):
            assert data.load("mvtec").masks is None
    else:
        assert data.load("mvtec").masks is None


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
    for wrong, got in (("appel", "got 'appel'"), ([], "got ''")):
        with raises_sentence(ValueError, "expected species out of apple, orange, pepper", got):
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
