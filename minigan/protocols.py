"""Protocols: splits of a data set into training, validation and test images, normal and anomalous ones.

    split = protocols.leave_one_out(data.load("digits"), anomalous=3, seed=0)
    detector.fit(split.train, validation=split.held_out)
    metrics.auroc(split.test_labels, detector.anomaly_score(split.test))

| protocol      | training set                     | test set                                         |
|---------------|----------------------------------|--------------------------------------------------|
| one_class     | one class                        | that class, and all the others as anomalies      |
| leave_one_out | 80 % of all classes but one      | the other 20 % and the class left out, balanced  |
| contaminated  | one class, unlabelled anomalies  | that class and all the others, balanced          |
| supervised    | one class, labelled anomalies    | as one_class                                     |
| defects       | good images                      | good and defective images                        |
| objects       | 60 % of a few classes            | other images of these, half of all other classes |

One seed always gives the same split, and no image is in two parts of it. Where a data set has groups
(photographs of one thing, say), no group is in two parts either: a test image is left out when its group is
on the training side. A data set without an official split is cut 80 to 20, class by class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigan.checks import is_finite_number, is_whole_number, require
from minigan.data.dataset import Dataset


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images in three parts, uint8 as in the data set. Labels are 0 for normal, 1 for anomalous."""

    #: The training images.
    train: np.ndarray
    #: Their labels in the data set, or their sub-classes.
    train_classes: np.ndarray
    #: 0 for normal, 1 for anomalous; only under `supervised`.
    train_labels: np.ndarray | None
    #: Images that are neither trained on nor tested on, for thresholds and for choosing an epoch.
    validation: np.ndarray | None
    validation_labels: np.ndarray | None
    #: The test images.
    test: np.ndarray
    test_labels: np.ndarray
    #: Masks of the test images.
    masks: np.ndarray | None
    #: The places of each part in the data set, ascending: `dataset.labels[split.test_index]`, for example,
    #: says which kind of defect each test image has.
    train_index: np.ndarray
    validation_index: np.ndarray
    test_index: np.ndarray
    #: Protocol, data set and sizes in words.
    description: str

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(validation, validation_labels) as `fit` takes them; None when nothing was held out."""
        if self.validation is None or self.validation_labels is None:
            return None
        return self.validation, self.validation_labels

    def __repr__(self) -> str:
        return self.description


def one_class(dataset: Dataset, normal: int | str, seed: int = 0, validation: float = 0.1) -> Split:
    """Train on one class; every other class is an anomaly in the test set.

    `normal` is a label or a class name. `validation` is the fraction of the training images that is held
    out; all of them are normal. Raises ValueError for an unknown class, or when a part would be empty.
    """
    return _one_normal_class("one-class", dataset, normal, 0, seed, validation)


def supervised(
    dataset: Dataset, normal: int | str, gamma: float, seed: int = 0, validation: float = 0.1
) -> Split:
    """As `one_class`, with anomalies of all the other classes in the training set, marked in `train_labels`.

    `gamma` = a / (n + a) in [0, 1) is their fraction, for n normal images and a anomalies. With one seed, a
    larger gamma adds anomalies and changes nothing else.
    """
    return _one_normal_class("supervised", dataset, normal, gamma, seed, validation)


def contaminated(
    dataset: Dataset,
    normal: int | str,
    gamma: float,
    seed: int = 0,
    validation: float = 0.1,
    n_test: int = 1000,
) -> Split:
    """As `supervised`, but nothing says which training images are the anomalies.

    `train_classes` therefore calls them all normal. The images held out are all normal. The test set has
    `n_test` normal images and as many anomalies, or of both as many as there are of the rarer kind.
    """
    require(
        is_whole_number(n_test) and n_test >= 1,
        f"expected n_test to be a whole number of test images of each kind, 1 or more, got {n_test!r}",
    )
    return _one_normal_class("contaminated", dataset, normal, gamma, seed, validation, n_test)


def leave_one_out(dataset: Dataset, anomalous: int | str, seed: int = 0, validation: float = 0.1) -> Split:
    """Train on all classes but one, which is the anomaly.

    An official split is merged first. 80 % of each normal class is for training, and the fraction
    `validation` of that is held out. The other 20 % and the class left out are for testing, the larger side
    thinned at random to the size of the smaller. `train_classes` keeps the data set's labels: without 3 there
    is a gap at 3.
    """
    _check_fraction("validation", validation)
    out, rng = _target("leave-one-out", dataset, anomalous), np.random.default_rng(seed)
    left_out, normal = np.flatnonzero(dataset.labels == out), np.flatnonzero(dataset.labels != out)
    pool, test = _cut(rng, dataset, normal, 0.8)
    held_out, train = _cut(rng, dataset, pool, validation)
    test = _balance(rng, test, _apart(dataset, left_out, pool))
    title = f"leave-one-out on {dataset.name}, anomalous: {dataset.classes[out]}, seed {seed}"
    return _split(dataset, title, dataset.labels == out, train, held_out, test)


def defects(
    dataset: Dataset, seed: int = 0, validation: float = 0.5, by_group: bool = True, training: float = 0.5
) -> Split:
    """Train on good images; test on good and defective ones.

    `validation` is the fraction of the *test* images, good and defective, that is set apart. The default,
    half, is what ALGAN's paper takes to choose the best epoch. That uses labels of anomalies, so report the
    last epoch beside it. 0 keeps the test set whole.

    Without an official split, the fraction `training` of the good images is for training; the others, and all
    the defective ones, are for validation and test: by default 50, 25 and 25 %, as the paper splits the
    magnetic tiles. A group with a defect in it is never trained on, and the fractions are as near to these as
    whole groups allow. Where a data set knows sub-classes of its good images, such as the species of healthy
    leaves, they are the split's `train_classes`.
    `by_group=False` ignores the groups: the paper's random split, which leaks.
    """
    require(
        dataset.defects,
        f"expected a data set of good and defective images, got {dataset.name}, whose classes are of equal "
        "standing; use one_class, leave_one_out, contaminated, supervised or objects",
    )
    _check_fraction("validation", validation)
    require(
        is_finite_number(training) and 0 < training < 1,
        f"expected training to be a fraction of the good images, between 0 and 1, got {training!r}",
    )
    rng, defective = np.random.default_rng(seed), dataset.labels != 0
    good = np.flatnonzero(~defective)
    if dataset.official is not None:
        train = good[dataset.official[good] == "train"]
        rest = np.flatnonzero(dataset.official == "test")
        rest = _apart(dataset, rest, train) if by_group else rest
    else:
        clean = _apart(dataset, good, np.flatnonzero(defective)) if by_group else good
        # The fraction is meant of all the good images, and taken from the groups without a defect.
        fraction = training * len(good) / max(1, len(clean))
        train, _ = _cut(rng, dataset, clean, min(1, fraction), by_group)
        rest = np.setdiff1d(np.arange(len(dataset)), train)
    held_out, test = _cut(rng, dataset, rest, validation, by_group)
    title = f"defects on {dataset.name}, seed {seed}"
    return _split(dataset, title, defective, train, held_out, test, by_group=by_group)


def objects(dataset: Dataset, n_normal: int = 10, seed: int = 0) -> Split:
    """Train on a few classes together; all the others are anomalies. ALGAN's paper splits COIL-100 like this.

    `n_normal` classes, drawn by the seed, are normal: 60 % of their images are for training, 20 % for
    validation and 20 % for testing. Of the other classes' images, half are for validation and half for
    testing. An official split is merged first. The validation images have anomalies among them: choosing an
    epoch by these uses labels, so report the last one beside it.
    """
    _check_equal_standing("objects", dataset)
    require(
        is_whole_number(n_normal) and 1 <= n_normal < len(dataset.classes),
        f"expected n_normal to be a whole number from 1 to {len(dataset.classes) - 1}, less than the "
        f"{len(dataset.classes)} classes of {dataset.name}, got {n_normal!r}",
    )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(dataset.classes), n_normal, replace=False))
    anomalous = ~np.isin(dataset.labels, chosen)
    train, rest = _cut(rng, dataset, np.flatnonzero(~anomalous), 0.6)
    held_out, test = _cut(rng, dataset, rest, 0.5)
    others = _apart(dataset, np.flatnonzero(anomalous), train)
    others_held_out, others_test = _cut(rng, dataset, others, 0.5)
    title = f"objects on {dataset.name}, normal: {n_normal} of {len(dataset.classes)} classes, seed {seed}"
    held_out = np.r_[held_out, _apart(dataset, others_held_out, test)]
    test = np.r_[test, _apart(dataset, others_test, held_out)]
    return _split(dataset, title, anomalous, train, held_out, test)


# --- what the protocols share ---------------------------------------------------------------------------


def _one_normal_class(
    protocol: str,
    dataset: Dataset,
    normal: int | str,
    gamma: float,
    seed: int,
    validation: float,
    n_test: int | None = None,
) -> Split:
    """`one_class`, `supervised` and `contaminated`; only the latter has an `n_test`."""
    label, rng = _target(protocol, dataset, normal), np.random.default_rng(seed)
    _check_fraction("validation", validation)
    require(
        is_finite_number(gamma) and 0 <= gamma < 1,
        f"expected gamma to be a fraction of at least 0 and below 1, got {gamma!r}",
    )
    anomalous = dataset.labels != label
    if dataset.official is None:
        pool, test = _cut(rng, dataset, np.arange(len(dataset)), 0.8)
    else:
        pool = np.flatnonzero(dataset.official == "train")
        test = _apart(dataset, np.flatnonzero(dataset.official == "test"), pool)
    held_out, train = _cut(rng, dataset, pool[~anomalous[pool]], validation)
    if n_test is not None:
        test = _balance(rng, test[~anomalous[test]], test[anomalous[test]], n_test)

    # Drawn last, so that with one seed nothing else depends on gamma.
    others = rng.permutation(_apart(dataset, pool[anomalous[pool]], held_out))
    wanted = round(gamma / (1 - gamma) * len(train))  # gamma = a / (n + a), solved for a
    if wanted > len(others):
        raise ValueError(
            f"expected {wanted} anomalies for gamma = {gamma} beside {len(train)} normal images, got "
            f"{len(others)} in the training part of {dataset.name}; use a smaller gamma"
        )
    title = f"{protocol} on {dataset.name}, normal: {dataset.classes[label]}, seed {seed}"
    train = np.r_[train, others[:wanted]]
    split = _split(dataset, title, anomalous, train, held_out, test, labelled=protocol == "supervised")
    if protocol == "contaminated":
        split.train_classes[:] = label
    return split


def _target(protocol: str, dataset: Dataset, target: int | str) -> int:
    """The label of a class that is given as a label or by its name."""
    _check_equal_standing(protocol, dataset)
    if isinstance(target, str):
        if target in dataset.classes:
            return dataset.classes.index(target)
    elif is_whole_number(target) and 0 <= target < len(dataset.classes):
        return int(target)
    raise ValueError(
        f"expected a class of {dataset.name}, a label from 0 to {len(dataset.classes) - 1} or a name out of "
        f"{', '.join(dataset.classes)}, got {target!r}"
    )


def _check_equal_standing(protocol: str, dataset: Dataset) -> None:
    """Refuse a defect data set, whose class 0 is normal and whose others are anomalies."""
    require(
        not dataset.defects,
        f"expected a data set with classes of equal standing for {protocol}, got {dataset.name} with good "
        "and defective images; use protocols.defects",
    )


def _check_fraction(name: str, value: float) -> None:
    require(
        is_finite_number(value) and 0 <= value <= 1,
        f"expected {name} to be a fraction from 0 to 1, got {value!r}",
    )


def _cut(
    rng: np.random.Generator, dataset: Dataset, index: np.ndarray, fraction: float, by_group: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(drawn, rest): about this fraction of the images, class by class, no group torn apart."""
    of_group = dataset.groups if by_group and dataset.groups is not None else np.arange(len(dataset))
    groups, which, sizes = np.unique(of_group[index], return_inverse=True, return_counts=True)
    kinds = np.zeros(len(groups), int)  # a group that has images of several classes counts as the last
    np.maximum.at(kinds, which, dataset.labels[index])
    drawn = np.zeros(len(groups), bool)
    for kind in np.unique(kinds):
        order = rng.permutation(np.flatnonzero(kinds == kind))
        filled = np.r_[0, np.cumsum(sizes[order])]  # images in the first 0, 1, 2, ... groups
        drawn[order[: abs(filled - fraction * filled[-1]).argmin()]] = True
    if len(index) and 0 < fraction < 1 and (drawn.all() or not drawn.any()):
        raise ValueError(
            f"expected to divide {len(index)} images of {dataset.name}, got none or all of them for the "
            f"fraction {fraction:g}; give more images (or groups), or another fraction"
        )
    return index[drawn[which]], index[~drawn[which]]


def _apart(dataset: Dataset, index: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The images of `index` that share no group with the images of `taken`."""
    if dataset.groups is None:
        return index
    return index[~np.isin(dataset.groups[index], dataset.groups[taken])]


def _balance(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, most: int | None = None) -> np.ndarray:
    """Equally many of both, drawn at random: as many as there are of the rarer, and `most` at most."""
    n = min(len(a), len(b), most or len(a))
    return np.r_[rng.permutation(a)[:n], rng.permutation(b)[:n]]


def _split(
    dataset: Dataset,
    title: str,
    anomalous: np.ndarray,  # (n,) bool, of the whole data set
    train: np.ndarray,
    held_out: np.ndarray,
    test: np.ndarray,
    labelled: bool = False,
    by_group: bool = True,
) -> Split:
    """Gather the images of the three parts and describe them."""
    train, held_out, test = np.sort(train), np.sort(held_out), np.sort(test)
    labels = anomalous.astype(np.int64)
    if not len(train) or len(np.unique(labels[test])) < 2:
        raise ValueError(
            f"expected images for training and of both kinds for testing, got {len(train)} for training, "
            f"{(~anomalous[test]).sum()} normal and {anomalous[test].sum()} anomalous ones for testing "
            f"({title})"
        )
    height, width = dataset.images.shape[1:3]
    known = dataset.labels if dataset.subclasses is None else dataset.subclasses
    classes = len(np.unique(known[train[~anomalous[train]]]))
    text = f"{title}\n  train       {_count(labels[train])}, {height}x{width}"
    if classes > 1:
        text += f", {classes} classes"
    if labels[train].any():
        text += f", gamma {labels[train].mean():.3g}, {'labelled' if labelled else 'unlabelled'}"
    if len(held_out):
        text += f"\n  validation  {_count(labels[held_out])}"
    text += f"\n  test        {_count(labels[test])}"
    if dataset.groups is not None:
        text += f"\n  groups      {'kept together' if by_group else 'ignored: they may leak'}"
    return Split(
        train=dataset.images[train],
        train_classes=known[train],
        train_labels=labels[train] if labelled else None,
        validation=dataset.images[held_out] if len(held_out) else None,
        validation_labels=labels[held_out] if len(held_out) else None,
        test=dataset.images[test],
        test_labels=labels[test],
        masks=None if dataset.masks is None else dataset.masks[test],
        train_index=train,
        validation_index=held_out,
        test_index=test,
        description=text,
    )


def _count(labels: np.ndarray) -> str:
    """A line such as "366 images, 183 normal + 183 anomalous (balanced)"."""
    n, a = len(labels), labels.sum()
    if a == 0:
        return f"{n} images, all normal"
    balanced = " (balanced)" if 2 * a == n else ""
    return f"{n} images, {n - a} normal + {a} anomalous{balanced}"
