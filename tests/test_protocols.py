"""Protocols: every split keeps its promises, for any data set, seed, target and fraction."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minigan import data, protocols
from minigan.data import Dataset

SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8)


def numbered(labels, classes, official=None, groups=None, **options) -> Dataset:
    """A data set whose images are their own index: (n, 2, 2), the first two pixels spell it."""
    index = np.arange(len(labels))
    images = np.zeros((len(labels), 2, 2), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = index // 256, index % 256
    return Dataset("numbers", images, np.asarray(labels), classes, official, groups=groups, **options)


# A recipe is what hypothesis draws, and shows when a test fails: sizes of the classes, with an official
# split or without, with groups or without, and the seed of all that is left open.
CLASSES = st.tuples(
    st.lists(st.integers(40, 90), min_size=2, max_size=5), st.booleans(), st.booleans(), SEEDS
)
DEFECTS = st.tuples(
    st.integers(60, 120),
    st.lists(st.integers(10, 20), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
    SEEDS,
)


def class_set(sizes, with_official, with_groups, seed) -> Dataset:
    """Classes in random order; groups of three, some across classes, some across the official split."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    thirds = np.arange(len(labels)) // 3
    official = np.where(rng.random(len(labels))[thirds] < 0.7, "train", "test")
    strays = rng.random(len(labels)) < 0.05
    official[strays] = "test"
    return numbered(
        labels,
        tuple(f"class {k}" for k in range(len(sizes))),
        official if with_official else None,
        7 * thirds if with_groups else None,
    )


def defect_set(good, kinds, with_official, with_groups, seed) -> Dataset:
    """Good images, then each kind of defect; groups of three neighbours, so some cross the kinds."""
    labels = np.repeat(np.arange(1 + len(kinds)), [good, *kinds])
    thirds = np.arange(len(labels)) // 3
    to_train = np.random.default_rng(seed).random(len(labels))[thirds] < 0.6
    masks = np.zeros((len(labels), 2, 2), bool)
    masks[labels > 0] = True
    return numbered(
        labels,
        ("good", "dent", "crack", "dust")[: 1 + len(kinds)],
        np.where((labels == 0) & to_train, "train", "test") if with_official else None,
        thirds if with_groups else None,
        masks=masks,
        defects=True,
    )


def check(split, dataset, anomalous, by_group=True):
    """What holds for every split; `anomalous` is (n,) bool over the data set."""
    parts = (split.train_index, split.validation_index, split.test_index)
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together), "an image stands in two parts"
    if dataset.groups is not None and by_group:
        seen = [set(dataset.groups[part]) for part in parts]
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2]), "a group in two parts"
    for index, images in zip(parts, (split.train, split.validation, split.test), strict=True):
        assert (np.diff(index) > 0).all()
        if images is None:
            assert not len(index)
        else:
            np.testing.assert_array_equal(images, dataset.images[index])
    np.testing.assert_array_equal(split.test_labels, anomalous[split.test_index])
    assert set(split.test_labels) == {0, 1}
    if split.validation is None:
        assert split.held_out is None
    else:
        np.testing.assert_array_equal(split.validation_labels, anomalous[split.validation_index])
        assert split.held_out[0] is split.validation and split.held_out[1] is split.validation_labels
    assert len(split.train_classes) == len(split.train) > 0
    for part in (split.train, split.validation, split.test):
        assert part is None or f" {len(part)} images" in repr(split)


def same(a, b) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("train_index", "validation_index", "test_index")
    )


@given(CLASSES, SEEDS, st.data())
def test_one_class(recipe, seed, draw):
    dataset = class_set(*recipe)
    normal = draw.draw(st.integers(0, len(dataset.classes) - 1))
    split = protocols.one_class(dataset, normal, seed)
    check(split, dataset, dataset.labels != normal)
    assert (split.train_classes == normal).all() and split.train_labels is None
    assert (split.validation_labels == 0).all() and split.masks is None
    assert same(split, protocols.one_class(dataset, dataset.classes[normal], seed))
    ours = len(split.train) + len(split.validation)
    if dataset.official is not None:
        assert (dataset.official[split.train_index] == "train").all()
        assert (dataset.official[split.test_index] == "test").all()
        assert ours == ((dataset.official == "train") & (dataset.labels == normal)).sum()
        if dataset.groups is None:
            assert len(split.test) == (dataset.official == "test").sum()
    elif dataset.groups is None:
        for label in range(len(dataset.classes)):
            count = (dataset.labels == label).sum()
            assert abs((dataset.labels[split.test_index] == label).sum() - 0.2 * count) <= 0.5
        assert abs(ours - 0.8 * (dataset.labels == normal).sum()) <= 0.5
    assert abs(len(split.validation) - 0.1 * ours) <= (0.5 if dataset.groups is None else 2)


@given(CLASSES, SEEDS, st.data())
def test_leave_one_out(recipe, seed, draw):
    dataset = class_set(*recipe)
    out = draw.draw(st.integers(0, len(dataset.classes) - 1))
    split = protocols.leave_one_out(dataset, out, seed)
    check(split, dataset, dataset.labels == out)
    assert out not in split.train_classes and split.train_labels is None
    np.testing.assert_array_equal(split.train_classes, dataset.labels[split.train_index])
    assert set(split.train_classes) == set(range(len(dataset.classes))) - {out}
    assert (split.validation_labels == 0).all()
    assert split.test_labels.sum() * 2 == len(split.test) and "(balanced)" in repr(split)
    assert same(split, protocols.leave_one_out(dataset, dataset.classes[out], seed))
    if dataset.groups is None:
        rest = [(dataset.labels == k).sum() for k in range(len(dataset.classes)) if k != out]
        trained = len(split.train) + len(split.validation)
        assert abs(trained - 0.8 * sum(rest)) <= 0.5 * len(rest)
        assert len(split.test) == 2 * min(sum(rest) - trained, (dataset.labels == out).sum())


@given(CLASSES, SEEDS, st.floats(0, 0.3), st.integers(1, 40), st.data())
def test_contaminated(recipe, seed, gamma, n_test, draw):
    dataset = class_set(*recipe)
    normal = draw.draw(st.integers(0, len(dataset.classes) - 1))
    clean = protocols.contaminated(dataset, normal, 0, seed, n_test=n_test)
    others = dataset.labels[np.setdiff1d(np.arange(len(dataset)), clean.test_index)] != normal
    assume(others.sum() > len(dataset) / 4)  # enough to contaminate with
    try:
        split = protocols.contaminated(dataset, normal, gamma, seed, n_test=n_test)
    except ValueError as error:
        assert "use a smaller gamma" in str(error) and len(dataset.classes) == 2
        return
    anomalous = dataset.labels != normal
    check(split, dataset, anomalous)
    assert split.train_labels is None and (split.train_classes == normal).all()
    assert (split.validation_labels == 0).all()
    added = anomalous[split.train_index].sum()
    assert added == round(gamma / (1 - gamma) * (len(split.train) - added))
    assert abs(added / len(split.train) - gamma) <= 1 / len(split.train)
    assert split.test_labels.sum() * 2 == len(split.test) <= 2 * n_test
    # gamma changes nothing but the anomalies that are added
    np.testing.assert_array_equal(split.test_index, clean.test_index)
    np.testing.assert_array_equal(split.validation_index, clean.validation_index)
    np.testing.assert_array_equal(split.train_index[~anomalous[split.train_index]], clean.train_index)


@given(SEEDS, st.integers(0, 9), st.floats(0, 0.8))
@settings(max_examples=30)
def test_supervised_is_one_class_with_labelled_anomalies(digits, seed, normal, gamma):
    split, plain = (
        protocols.supervised(digits, normal, gamma, seed),
        protocols.one_class(digits, normal, seed),
    )
    anomalous = digits.labels != normal
    check(split, digits, anomalous)
    np.testing.assert_array_equal(split.train_labels, anomalous[split.train_index])
    np.testing.assert_array_equal(split.train_classes, digits.labels[split.train_index])
    a = split.train_labels.sum()
    assert a == round(gamma / (1 - gamma) * (len(split.train) - a))
    np.testing.assert_array_equal(split.test_index, plain.test_index)
    np.testing.assert_array_equal(split.validation_index, plain.validation_index)
    np.testing.assert_array_equal(split.train_index[split.train_labels == 0], plain.train_index)
    assert ("gamma" in repr(split)) == bool(a)


def test_more_contamination_only_adds(digits):
    small, large = (protocols.contaminated(digits, 4, gamma, seed=2) for gamma in (0.02, 0.1))
    assert set(small.train_index) < set(large.train_index)


@given(DEFECTS, SEEDS, st.booleans())
def test_defects(recipe, seed, by_group):
    dataset = defect_set(*recipe)
    split = protocols.defects(dataset, seed, by_group=by_group)
    defective = dataset.labels != 0
    check(split, dataset, defective, by_group)
    assert (split.train_classes == 0).all() and split.train_labels is None
    np.testing.assert_array_equal(split.masks, dataset.masks[split.test_index])
    assert same(split, protocols.defects(dataset, seed, by_group=by_group))
    grouped = dataset.groups is not None
    assert ("groups" in repr(split)) == grouped
    if grouped and by_group and dataset.official is None:
        assert not set(dataset.groups[split.train_index]) & set(dataset.groups[defective])
    slack = len(dataset.classes) * (3 if grouped and by_group else 0.5)
    if dataset.official is not None:
        assert (dataset.official[split.train_index] == "train").all()
        assert (dataset.official[split.test_index] == "test").all()
        assert abs(len(split.test) - len(split.validation)) <= 2 * slack
    else:
        assert abs(len(split.train) - (~defective).sum() / 2) <= slack
        assert len(split.train) + len(split.validation) + len(split.test) == len(dataset)
        for part in (split.validation_index, split.test_index):
            assert abs(defective[part].sum() - defective.sum() / 2) <= slack
            assert abs((~defective[part]).sum() - (~defective).sum() / 4) <= 2 * slack


def test_the_fraction_of_good_images_for_training_can_be_chosen():
    dataset = numbered(np.repeat([0, 1], [200, 50]), ("good", "bad"), defects=True)
    split = protocols.defects(dataset, training=0.8, validation=0)
    assert len(split.train) == 160 and np.bincount(split.test_labels).tolist() == [40, 50]
    for bad in (0, 1, -0.5):
        with pytest.raises(ValueError, match=f"expected training to be a fraction .*, got {bad}"):
            protocols.defects(dataset, training=bad)


def test_sub_classes_of_good_images_are_what_is_trained_on():
    labels, species = np.repeat([0, 1], [100, 20]), np.arange(120) % 3
    names = ("apple", "corn", "grape")
    dataset = numbered(labels, ("healthy", "ill"), subclasses=species, subclass_names=names, defects=True)
    split = protocols.defects(dataset)
    np.testing.assert_array_equal(split.train_classes, species[split.train_index])
    assert "3 classes" in repr(split)


@given(CLASSES, SEEDS, st.data())
def test_objects(recipe, seed, draw):
    dataset = class_set(*recipe)
    n_normal = draw.draw(st.integers(1, len(dataset.classes) - 1))
    split = protocols.objects(dataset, n_normal, seed)
    normal = np.unique(dataset.labels[split.train_index])
    assert len(normal) == n_normal
    anomalous = ~np.isin(dataset.labels, normal)
    check(split, dataset, anomalous)
    np.testing.assert_array_equal(split.train_classes, dataset.labels[split.train_index])
    assert split.train_labels is None and same(split, protocols.objects(dataset, n_normal, seed))
    if dataset.groups is None:
        n, a, classes = (~anomalous).sum(), anomalous.sum(), len(dataset.classes)
        assert abs(len(split.train) - 0.6 * n) <= classes
        for labels in (split.validation_labels, split.test_labels):
            assert abs((labels == 0).sum() - 0.2 * n) <= classes
            assert abs(labels.sum() - a / 2) <= classes
        assert len(split.train) + len(split.validation) + len(split.test) == len(dataset)


def test_objects_draws_its_classes_by_the_seed_and_refuses_what_cannot_be(digits):
    drawn = {tuple(np.unique(protocols.objects(digits, 3, seed).train_classes)) for seed in range(8)}
    assert len(drawn) > 4
    for bad in (0, 10, 2.0, True):
        with pytest.raises(
            ValueError,
            match="expected n_normal to be a whole number from 1 to 9, .* 10 classes of digits, got",
        ):
            protocols.objects(digits, bad)
    with pytest.raises(ValueError, match="use protocols.defects"):
        protocols.objects(data.load("textures", size=16), 1)


def test_a_random_split_tears_groups_apart_and_says_so():
    labels = np.repeat([0, 1], [90, 30])
    dataset = numbered(labels, ("good", "bad"), groups=np.arange(120) // 6, defects=True)
    split = protocols.defects(dataset, by_group=False)
    assert set(dataset.groups[split.train_index]) & set(dataset.groups[split.test_index])
    assert "ignored" in repr(split) and "kept together" in repr(protocols.defects(dataset))


def test_textures_share_no_band_between_validation_and_test():
    textures = data.load("textures", size=16)
    split = protocols.defects(textures, seed=1)
    assert len(split.train) == 400
    kinds = textures.labels[split.test_index], textures.labels[split.validation_index]
    for labels in kinds:
        assert np.bincount(labels).tolist() == [50, 20, 20, 20, 20]
    assert not set(textures.groups[split.test_index]) & set(textures.groups[split.validation_index])
    assert split.masks.any((1, 2)).tolist() == split.test_labels.astype(bool).tolist()
    whole = protocols.defects(textures, validation=0)
    assert len(whole.test) == 260 and whole.validation is None and whole.held_out is None


def test_a_test_image_of_a_trained_group_is_left_out():
    labels = np.tile([0, 1], 50)
    official = np.where(np.arange(100) < 60, "train", "test")
    groups = np.arange(100)
    groups[60:64] = groups[0:4]  # four test photographs show what training photographs show
    split = protocols.one_class(numbered(labels, ("a", "b"), official, groups), "a")
    assert split.test_index.tolist() == list(range(64, 100))


def test_seeds_differ(digits):
    for protocol in (protocols.one_class, protocols.leave_one_out):
        assert not same(protocol(digits, 3, seed=0), protocol(digits, 3, seed=1))


def test_no_validation_leaves_all_to_training(digits):
    some, none = protocols.one_class(digits, 3), protocols.one_class(digits, 3, validation=0)
    assert none.held_out is None and none.validation_labels is None and len(none.validation_index) == 0
    assert len(none.train) == len(some.train) + len(some.validation)
    assert "validation" in repr(some) and "validation" not in repr(none)


def test_printing_reads_well(digits):
    assert repr(protocols.leave_one_out(digits, anomalous=3)) == (
        "leave-one-out on digits, anomalous: 3, seed 0\n"
        "  train       1164 images, all normal, 8x8, 9 classes\n"
        "  validation  128 images, all normal\n"
        "  test        366 images, 183 normal + 183 anomalous (balanced)"
    )
    text = repr(protocols.contaminated(digits, "3", gamma=0.05))
    assert "131 normal + 7 anomalous, 8x8, gamma 0.0507, unlabelled" in text


WORKSHOP = numbered([0] * 20 + [1] * 10, ("good", "bad"), defects=True)
PLAIN = numbered([0, 1] * 20, ("a", "b"))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: protocols.one_class(PLAIN, 2),
            "expected a class of numbers, a label from 0 to 1 or a name out of a, b, got 2",
        ),
        (lambda: protocols.one_class(PLAIN, -1), "expected a class .*, got -1"),
        (lambda: protocols.leave_one_out(PLAIN, "c"), "expected a class .*, got 'c'"),
        (lambda: protocols.one_class(WORKSHOP, 0), "good and defective images; use protocols.defects"),
        (lambda: protocols.leave_one_out(WORKSHOP, 0), "use protocols.defects"),
        (lambda: protocols.defects(PLAIN), "expected a data set of good and defective images, got numbers"),
        (
            lambda: protocols.contaminated(PLAIN, 0, 1.0),
            "expected gamma to be a fraction of at least 0 and below 1, got 1.0",
        ),
        (lambda: protocols.contaminated(PLAIN, 0, -0.1), "below 1, got -0.1"),
        (lambda: protocols.supervised(PLAIN, 0, float("nan")), "below 1, got nan"),
        (lambda: protocols.supervised(PLAIN, 0, 0.9), "use a smaller gamma"),
        (lambda: protocols.supervised(PLAIN, 0, "0.1"), "below 1, got '0.1'"),
        (lambda: protocols.contaminated(PLAIN, 0, 0.1, n_test=2.5), "1 or more, got 2.5"),
        (lambda: protocols.leave_one_out(PLAIN, 0, validation=None), "from 0 to 1, got None"),
        (lambda: protocols.one_class(PLAIN, True), "expected a class .*, got True"),
        (
            lambda: protocols.contaminated(PLAIN, 0, 0.1, n_test=0),
            "expected n_test to be a whole number of test images of each kind, 1 or more, got 0",
        ),
        (
            lambda: protocols.one_class(PLAIN, 0, validation=1.5),
            "expected validation to be a fraction from 0 to 1, got 1.5",
        ),
        (lambda: protocols.one_class(PLAIN, 0, validation=1), "got 0 for training"),
        (
            lambda: protocols.one_class(PLAIN, 0, validation=0.01),
            "got none or all of them for the fraction 0.01",
        ),
        (
            lambda: protocols.defects(WORKSHOP, validation=-1),
            "expected validation to be a fraction from 0 to 1, got -1",
        ),
        (lambda: protocols.defects(WORKSHOP, validation=1), "0 normal and 0 anomalous ones for testing"),
        (
            lambda: protocols.leave_one_out(numbered([0] * 20, ("a", "b")), "b"),
            "0 anomalous ones for testing",
        ),
        (lambda: protocols.one_class(numbered([0] * 20, ("a", "b")), "b"), "got 0 for training"),
        (
            lambda: protocols.defects(
                numbered([0, 1] * 9, ("a", "b"), groups=np.arange(18) // 2, defects=True)
            ),
            "got 0 for training",
        ),
    ],
)
def test_what_cannot_be_split_is_said(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
