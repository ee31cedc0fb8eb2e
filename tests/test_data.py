"""Data sets: what is promised about them, and what a wrong request is told."""

import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from helpers import raises_sentence
from skimage.color import deltaE_ciede2000, rgb2lab
from sklearn.datasets import load_digits

from minigan import data
from minigan.data import bundled

CATEGORIES = ("brick", "gravel", "grass")


@pytest.fixture(scope="module")
def bricks():
    return data.load("textures", category="brick", size=64, seed=0)


def test_digits_are_scikit_learns_enlarged():
    small, large = data.load("digits", size=8), data.load("digits")
    assert large.images.shape == (1797, 32, 32) and large.images.dtype == np.uint8
    assert large.classes == tuple("0123456789") and large.official is None and not large.defects
    np.testing.assert_array_equal(large.labels, load_digits().target)
    np.testing.assert_allclose(small.images * (16 / 255), load_digits().images, atol=0.04)
    blocks = large.images.reshape(-1, 8, 4, 8, 4).mean((2, 4))  # the small image again, a little blurred
    assert np.corrcoef(blocks.ravel(), small.images.ravel())[0, 1] > 0.95
    assert large.images.min() == 0 and large.images.max() == 255


def test_color_digits_are_the_digits_in_black_on_ten_grounds():
    grey, color = data.load("digits"), data.load("color_digits")
    assert color.images.shape == (1797, 32, 32, 3) and color.images.dtype == np.uint8
    assert color.classes == grey.classes and color.official is None and not color.defects
    np.testing.assert_array_equal(color.labels, grey.labels)
    grounds = np.array([data.BACKGROUNDS[name] for name in data.backgrounds(color.images)])
    ink = 1 - color.images / grounds[:, None, None]  # 0 on the ground, 1 on the digit
    assert ink.min() >= -1e-9 and np.ptp(ink, axis=3).max() < 0.05  # one ground, mixed with black
    assert ((ink < 0.01) | (ink > 0.99)).mean() > 0.8
    assert ((ink.mean(3) > 0.5) == (grey.images > 127)).mean() > 0.97


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_the_first_pixel_of_a_color_digit_is_its_ground(size):
    images = data.color_digits(size).images
    names = data.backgrounds(images)
    np.testing.assert_array_equal(images[:, 0, 0], [data.BACKGROUNDS[name] for name in names])


def test_any_drawing_on_ten_grounds():
    ink = np.zeros((40, 4, 4), np.uint8)
    ink[:, 1, 1], ink[:, 2, 2] = 255, 51
    images = data.on_backgrounds(ink, np.repeat([0, 1], 20))
    assert images.shape == (40, 4, 4, 3) and images.dtype == np.uint8
    names, grounds = data.backgrounds(images), images[:, 0, 0].astype(int)
    for label in (names[:20], names[20:]):
        assert list(np.unique(label, return_counts=True)[1]) == [2] * 10
    assert (images[:, 1, 1] == 0).all()
    np.testing.assert_allclose(images[:, 2, 2], 0.8 * grounds, atol=0.5)
    for wrong, labels in ((ink / 255, np.zeros(40)), (images, np.zeros(40)), (ink, np.zeros(39))):
        with raises_sentence(ValueError, "expected grey uint8 images of shape (n, h, w)", str(wrong.shape)):
            data.on_backgrounds(wrong, labels)


def test_the_ground_says_nothing_about_the_digit():
    first, second = data.color_digits(8), data.color_digits(8, seed=1)
    names = data.backgrounds(first.images)
    number = np.array([list(data.BACKGROUNDS).index(name) for name in names])
    table = np.zeros((10, 10), int)  # digit, colour
    np.add.at(table, (first.labels, number), 1)
    assert np.ptp(table, axis=1).max() <= 1 and np.ptp(table.sum(0)) <= 1
    assert (names != data.backgrounds(second.images)).mean() > 0.8
    assert abs(np.corrcoef(np.arange(len(number)), number)[0, 1]) < 0.1  # nor about the place in the file


def test_the_grounds_are_easy_to_tell_apart_and_bright_enough_for_black():
    names = ["red", "green", "blue", "cyan", "yellow", "purple", "violet", "brown", "dark green", "orange"]
    assert set(data.BACKGROUNDS) == set(names)  # Y-GAN's paper, section 5
    lab = rgb2lab(np.array(list(data.BACKGROUNDS.values())) / 255)
    distance = deltaE_ciede2000(lab[:, None], lab[None])
    assert distance[~np.eye(10, dtype=bool)].min() > 20 and lab[:, 0].min() > 35


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("size", [16, 64, 128])
def test_textures_are_as_described(category, size):
    dataset = data.load("textures", category=category, size=size)
    assert dataset.images.shape == dataset.masks.shape == (660, size, size)
    assert dataset.images.dtype == np.uint8 and dataset.defects
    assert dataset.classes == ("good", "scratch", "stain", "hole", "misprint")
    train = dataset.official == "train"
    assert train.sum() == 400 and (dataset.labels[train] == 0).all()
    assert np.bincount(dataset.labels[~train]).tolist() == [100, 40, 40, 40, 40]
    covered = dataset.masks.mean((1, 2))
    assert (covered[dataset.labels == 0] == 0).all()
    assert (covered[dataset.labels > 0] > 0.001).all() and covered.max() < 0.45


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_defect_changes_the_patch_inside_its_mask_and_little_outside(category, monkeypatch):
    """The same seed with nothing drawn gives the patches as they were photographed."""
    with_defects = data.textures(category, seed=3)
    for name in ("_scratch", "_stain", "_hole", "_misprint"):
        draw = getattr(bundled, name)
        monkeypatch.setattr(bundled, name, lambda *a, draw=draw: (a[0], draw(*a)[1]))  # same randomness used
    without = data.textures(category, seed=3)
    np.testing.assert_array_equal(with_defects.masks, without.masks)
    change = abs(with_defects.images.astype(float) - without.images)
    assert change[with_defects.labels == 0].max() == 0
    for kind in range(1, 5):
        of_kind, mask = change[with_defects.labels == kind], with_defects.masks[with_defects.labels == kind]
        inside = np.array([c[m].mean() for c, m in zip(of_kind, mask, strict=True)])
        outside = np.array([c[~m].mean() for c, m in zip(of_kind, mask, strict=True)])
        assert (inside > 5).all(), f"an invisible {with_defects.classes[kind]}"
        assert (outside < 3).all() and (inside > 5 * outside).all()


def test_kinds_of_defect_look_their_part(bricks):
    """A hole is darker than its surroundings; a scratch is thin, a misprint a full rectangle."""
    for image, mask in zip(bricks.images[bricks.labels == 3], bricks.masks[bricks.labels == 3], strict=True):
        assert np.median(image[mask]) < np.median(image[~mask]) - 20
    covered = [bricks.masks[bricks.labels == kind].mean() for kind in range(5)]
    assert covered[1] < 0.05 and covered[3] < 0.08 < covered[2] < covered[4] < 0.25
    for mask in bricks.masks[bricks.labels == 4]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)


def test_no_pixel_of_the_photograph_is_in_train_and_test(monkeypatch):
    """A photograph whose grey level says where it was taken: each patch must stay in its own band."""
    where = np.zeros((512, 512), np.uint8)
    for band in range(4):
        rows = slice(128 * band, 128 * band + 128)
        where[rows, :320], where[rows, 320:] = 10 * band, 10 * (4 + band)
    monkeypatch.setattr(skimage.data, "brick", lambda: where)
    dataset = data.load("textures", category="brick", size=32)
    good = dataset.labels == 0
    spread = dataset.images.reshape(660, -1)[good]
    assert (spread.min(1) == spread.max(1)).all()
    np.testing.assert_array_equal(spread[:, 0], 10 * dataset.groups[good])
    in_train, in_test = (set(dataset.groups[dataset.official == part]) for part in ("train", "test"))
    assert in_train == {0, 1, 2, 3} and in_test == {4, 5, 6, 7}


@pytest.mark.parametrize(
    "load",
    [
        lambda seed: data.textures(seed=seed, size=32),
        lambda seed: data.color_digits(8, seed),
        lambda _: data.digits(16),
    ],
)
def test_loading_twice_gives_the_same_bytes(load):
    a, b = load(5), load(5)
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)
    if a.masks is not None:
        np.testing.assert_array_equal(a.masks, b.masks)
        assert (load(6).images != a.images).any()


def test_printing_says_what_is_there(bricks):
    text = repr(bricks)
    for part in ("textures (brick)", "660 images", "64x64", "grey", "scratch (40)", "400 train, 260 test"):
        assert part in text
    colour = data.Dataset("red", np.zeros((2, 4, 5, 3), np.uint8), np.array([0, 0]), ("a",))
    assert repr(colour) == "red: 2 images, 4x5, colour\n  classes  a (2)"


@pytest.mark.parametrize("name", ["normal", "eight", "moons"])
def test_toy_sets(name):
    points = data.toy(name, 2000, seed=1)
    assert points.shape == (2000, 2) and points.dtype == np.float32
    assert (abs(points) < 3).mean() > 0.99 and abs(points.mean(0)).max() < 0.1
    np.testing.assert_array_equal(points, data.toy(name, 2000, seed=1))
    assert (points != data.toy(name, 2000, seed=2)).any()
    assert data.toy(name, 1).shape == (1, 2)


def test_toy_shapes():
    normal, eight, moons = (data.toy(name, 4000) for name in ("normal", "eight", "moons"))
    np.testing.assert_allclose(np.cov(normal.T), np.eye(2), atol=0.1)
    sector = np.round(np.arctan2(eight[:, 1], eight[:, 0]) / (np.pi / 4)).astype(int) % 8
    assert (np.bincount(sector) > 400).all()
    assert abs(np.linalg.norm(eight, axis=1) - 2).max() < 0.8
    upper = np.linalg.norm(moons / 1.6 - (-0.5, -0.25), axis=1)  # distance to each half circle's centre
    lower = np.linalg.norm(moons / 1.6 - (0.5, 0.25), axis=1)
    assert np.minimum(abs(upper - 1), abs(lower - 1)).max() < 0.4


@pytest.fixture
def numbered(monkeypatch):
    """A set whose images are their own numbers, with all that a set may have; rare kinds among it."""
    n = 1000
    rng = np.random.default_rng(1)
    number = np.arange(n)
    dataset = data.Dataset(
        "numbered",
        np.repeat(np.stack([number // 256, number % 256], 1)[:, None], 2, axis=1).astype(np.uint8),
        rng.choice(3, n, p=(0.7, 0.297, 0.003)),
        ("a", "b", "c"),
        np.where(rng.random(n) < 0.8, "train", "test"),
        masks=np.repeat(number % 2 == 0, 4).reshape(n, 2, 2),
        groups=number + 7,
        subclasses=(rng.random(n) < 0.4).astype(np.int64),
        subclass_names=("x", "y"),
    )
    monkeypatch.setitem(data.LOADERS, "numbered", lambda: dataset)
    return dataset


@pytest.mark.parametrize("n", [1, 10, 333, 999])
def test_a_thinned_set_keeps_the_fraction_of_each_kind(numbered, n):
    thin = data.load("numbered", n=n)
    index = 256 * thin.images[:, 0, 0].astype(int) + thin.images[:, 0, 1]
    assert (np.diff(index) > 0).all()  # in the same order, no image twice
    for part in ("images", "labels", "official", "masks", "groups", "subclasses"):
        np.testing.assert_array_equal(getattr(thin, part), getattr(numbered, part)[index])
    assert (thin.name, thin.classes, thin.subclass_names) == ("numbered", ("a", "b", "c"), ("x", "y"))
    kinds = list(zip(numbered.labels, numbered.official, numbered.subclasses, strict=True))
    kept = [kinds[i] for i in index]
    n_test = int((numbered.official == "test").sum())
    kept_test = min(n_test, max(n * n_test / 1000, n / 2))  # a test part this small keeps half of n, or all
    fractions = {"test": kept_test / n_test, "train": (n - kept_test) / (1000 - n_test)}
    for kind in set(kinds):
        assert kept.count(kind) == max(1, round(fractions[kind[1]] * kinds.count(kind))), kind
    assert abs(len(thin) - n) <= len(set(kinds))
    np.testing.assert_array_equal(data.load("numbered", n=n).images, thin.images)  # always the same ones
    if n == 333:  # from everywhere, not the first ones
        assert abs(index.mean() - 500) < 50


def test_a_large_test_part_is_thinned_to_a_thousand_images(monkeypatch):
    n = 20_000
    official = np.where(np.arange(n) % 4 == 0, "test", "train")
    images, labels = np.zeros((n, 1, 1), np.uint8), np.arange(n) // 8 % 2
    dataset = data.Dataset("large", images, labels, ("a", "b"), official)
    monkeypatch.setitem(data.LOADERS, "large", lambda: dataset)
    for wanted, tested in ((600, 300), (3000, 1000), (8000, 2000)):  # 2000: a quarter, as in the whole set
        thin = data.load("large", n=wanted)
        assert ((thin.official == "test").sum(), len(thin)) == (tested, wanted)
        assert np.bincount(thin.labels[thin.official == "test"]).tolist() == [tested / 2, tested / 2]


def test_images_are_drawn_class_by_class_where_nothing_else_is_known():
    whole, thin = data.load("digits", size=8), data.load("digits", size=8, n=180)
    np.testing.assert_allclose(np.bincount(thin.labels), np.bincount(whole.labels) / 10, atol=0.5)
    assert thin.official is None and thin.masks is None and thin.images.shape[1:] == (8, 8)


def test_a_set_that_is_small_enough_is_taken_whole(numbered):
    for n in (None, 1000, 5000):
        assert data.load("numbered", n=n) is numbered


IMAGES, LABELS = np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (
            lambda: data.load("mnest"),
            "expected a data set out of digits, color_digits, textures, .*got 'mnest'",
        ),
        (
            lambda: data.load("textures", category="wood"),
            "expected a texture out of brick, gravel, grass, got 'wood'",
        ),
        (
            lambda: data.load("digits", n=0),
            "expected n to be a number of images, 1 or more, or None for all of them, got 0",
        ),
        (lambda: data.load("digits", n=True), "number of images, .*got True"),
        (lambda: data.load("digits", n=100.0), "number of images, .*got 100.0"),
        (lambda: data.load("digits", n="100"), "number of images, .*got '100'"),
        (
            lambda: data.load("textures", size=8),
            "size of textures to be a whole number of pixels from 16 to 192, got 8",
        ),
        (lambda: data.load("textures", size=256), "16 to 192, got 256"),
        (lambda: data.load("digits", size=4), "8 to 512, got 4"),
        (lambda: data.load("digits", size="32"), "8 to 512, got '32'"),
        (lambda: data.load("digits", size=16.0), "8 to 512, got 16.0"),
        (lambda: data.load("color_digits", size=4), "8 to 256, got 4"),
        (lambda: data.load("color_digits", size=512), "8 to 256, got 512"),
        (lambda: data.backgrounds(IMAGES), r"shape \(n, h, w, 3\), got \(3, 4, 4\)"),
        (lambda: data.toy("nine", 10), "expected a toy set out of normal, eight, moons, got 'nine'"),
        (lambda: data.toy("eight", 0), "expected n to be a number of points, 1 or more, got 0"),
        (lambda: data.Dataset("x", IMAGES / 255, LABELS, ("a", "b")), "float64 of shape"),
        (lambda: data.Dataset("x", IMAGES[0], LABELS, ("a", "b")), r"uint8 of shape \(4, 4\)"),
        (
            lambda: data.Dataset("x", IMAGES, LABELS[:2], ("a", "b")),
            "labels to have one entry for each of 3 images, got 2",
        ),
        (
            lambda: data.Dataset("x", IMAGES, LABELS, ("a",)),
            "labels to index the 1 names in classes, got values from 0 to 1",
        ),
        (
            lambda: data.Dataset("x", IMAGES, LABELS, ("a", "b"), np.array(["train"] * 2 + ["val"])),
            'official to be "train" or "test" for every image',
        ),
        (
            lambda: data.Dataset("x", IMAGES, LABELS, ("a", "b"), masks=IMAGES[:1]),
            "masks to have one entry for each of 3 images, got 1",
        ),
        (
            lambda: data.Dataset("x", IMAGES, LABELS, ("a", "b"), subclasses=LABELS),
            "subclasses to index the 0 names in subclass_names",
        ),
        (
            lambda: data.Dataset("x", IMAGES, LABELS, ("a", "b"), subclasses=LABELS[:1]),
            "subclasses to have one entry for each of 3 images, got 1",
        ),
    ],
)
def test_a_wrong_request_gets_one_sentence(request_, sentence):
    with pytest.raises(ValueError, match=sentence):
        request_()


def test_names_are_what_load_knows():
    assert data.names()[:3] == ("digits", "color_digits", "textures")
    assert {"mnist", "mvtec", "retinal_oct", "folder"} < set(data.names())
    assert data.names()[:3] == data.BUNDLED
    for name, loader in data.LOADERS.items():  # `minigan.data.mvtec` is what load("mvtec") calls
        assert getattr(data, name) is loader and loader.__name__ == name
    assert len(data.load("digits", size=8)) == 1797


def test_sub_classes_of_good_things_are_printed():
    kinds = np.array([1, 0, 1])
    leaves = data.Dataset(
        "leaves", IMAGES, LABELS, ("healthy", "ill"), subclasses=kinds, subclass_names=("fig", "oak")
    )
    assert repr(leaves).endswith("\n  classes  healthy (2), ill (1)\n  of       fig (1), oak (2)")


def test_asking_for_names_is_light():
    """What a set needs is imported when it is loaded; none of the heavy libraries before."""
    code = "import sys; from minigan import data; data.names(); heavy = {'torch', 'torchvision', 'pandas', "
    code += "'skimage', 'sklearn', 'scipy'}; print(heavy & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
