"""Protocols: who is normal, who is anomalous, and which image may be seen when.

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

One seed always gives the same split, and no image stands in two parts of it. Where a data set has groups
(photographs of one thing, say), no group does either: a test image is left out when its group stands on the
training side. A data set without an official split is cut 80 to 20, class by class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minigan.data import Dataset


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images in three parts, uint8 as in the data set. Labels are 0 normal, 1 anomalous."""

    train: np.ndarray
    train_classes: np.ndarray  # the data set's own labels of the training images, or their sub-classes
    train_labels: np.ndarray | None  # only under `supervised`
    validation: np.ndarray | None  # not trained on, not tested on: for thresholds, for choosing an epoch
    validation_labels: np.ndarray | None
    test: np.ndarray
    test_labels: np.ndarray
    masks: np.ndarray | None  # of the test images
    train_index: np.ndarray  # where the parts stand in the data set, ascending; the kind of defect in
    validation_index: np.ndarray  # each test image, for example, is dataset.labels[split.test_index]
    test_index: np.ndarray
    description: str

    @property
    def held_out(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(validation, validation_labels) as `fit` takes them; None when nothing was held out."""
        return None if self.validation is None else (self.validation, self.validation_labels)

    def __repr__(self) -> str:
        return self.description


def one_class(dataset: Dataset, normal: int | str, seed: int = 0, validation: float = 0.1) -> Split:
    """Train on one class; every other class is an anomaly in the test set.

    `normal` is a label or a class name. `validation` is the share of the training images that is held out;
    all of them are normal. Raises ValueError for an unknown class, or when a part would be empty.
    """
    return _one_normal_class("one-class", dataset, normal, 0, seed, validation)


def supervised(
    dataset: Dataset, normal: int | str, gamma: float, seed: int = 0, validation: float = 0.1
) -> Split:
    """As `one_class`, with anomalies of all the other classes in the training set, told by `train_labels`.

    `gamma` = a / (n + a) is their share, in [0, 1), of n normal images and a anomalies. With one seed, a
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
    """As `supervised`, but nobody says which training images are the anomalies.

    `train_classes` therefore calls them all normal. What is held out is clean. The test set has `n_test`
    normal images and as many anomalies, or of both as many as there are of the rarer.
    """
    if n_test < 1:
        raise ValueError(f"n_test = {n_test} came; at least one test image of each kind is wanted.")
    return _one_normal_class("contaminated", dataset, normal, gamma, seed, validation, n_test)


def leave_one_out(dataset: Dataset, anomalous: int | str, seed: int = 0, validation: float = 0.1) -> Split:
    """Train on all classes but one, which is the anomaly.

    An official split is merged first. 80 % of each normal class is for training, a share `validation` of that
    being held out. The other 20 % and the class left out are for testing, the larger side thinned at random
    to the size of the smaller. `train_classes` keeps the data set's labels: without 3 there is a gap at 3.
    """
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

    `validation` is the share of the *test* images, good and defective, that is set apart. The default, half,
    is what ALGAN's paper takes to choose the best epoch. That uses labels of anomalies, so report the last
    epoch beside it. 0 keeps the test set whole.

    Without an official split, a share `training` of the good images is for training; the others, and all the
    defective ones, are for validation and test: by default 50, 25 and 25 %, as the paper splits the magnetic
    tiles. A group with a defect in it is never trained on, and the shares are as near to these as whole
    groups allow. Where a data set knows sub-classes of its good images, such as the species of healthy
    leaves, they are the split's `train_classes`.
    `by_group=False` ignores the groups: the paper's random split, which leaks.
    """
    if not dataset.defects:
        raise ValueError(
            f"{dataset.name} is not a defect data set, its classes are of equal standing: use one_class, "
            "leave_one_out, contaminated or supervised."
        )
    if not 0 < training < 1:
        raise ValueError(f"training = {training} came; it is a share, more than 0 and less than 1.")
    rng, defective = np.random.default_rng(seed), dataset.labels != 0
    good = np.flatnonzero(~defective)
    if dataset.official is not None:
        train = good[dataset.official[good] == "train"]
        rest = np.flatnonzero(dataset.official == "test")
        rest = _apart(dataset, rest, train) if by_group else rest
    else:
        clean = _apart(dataset, good, np.flatnonzero(defective)) if by_group else good
        share = training * len(good) / max(1, len(clean))  # of all the good images, from the clean groups
        train, _ = _cut(rng, dataset, clean, min(1, share), by_group)
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
    if dataset.defects:
        raise ValueError(
            f"objects wants classes of equal standing, but {dataset.name} has good and defective images: use "
            "protocols.defects."
        )
    whole = isinstance(n_normal, int | np.integer) and not isinstance(n_normal, bool)
    if not whole or not 1 <= n_normal < len(dataset.classes):
        raise ValueError(
            f"n_normal = {n_normal!r} came, but {dataset.name} has {len(dataset.classes)} classes: give a "
            "number from 1 to one less than that."
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
    label, rng = _target(protocol, dataset, normal), np.random.default_rng(seed)
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma = {gamma} came; it is a share, at least 0 and less than 1.")
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
    wanted = round(gamma / (1 - gamma) * len(train))
    if wanted > len(others):
        raise ValueError(
            f"gamma = {gamma} means {wanted} anomalies beside {len(train)} normal images, but {dataset.name} "
            f"has {len(others)} for training: use a smaller gamma."
        )
    title = f"{protocol} on {dataset.name}, normal: {dataset.classes[label]}, seed {seed}"
    train = np.r_[train, others[:wanted]]
    split = _split(dataset, title, anomalous, train, held_out, test, labelled=protocol == "supervised")
    if protocol == "contaminated":
        split.train_classes[:] = label
    return split


def _target(protocol: str, dataset: Dataset, target: int | str) -> int:
    """The label of a class that is given as a label or by its name."""
    if dataset.defects:
        raise ValueError(
            f"{protocol} wants classes of equal standing, but {dataset.name} has good and defective images: "
            "use protocols.defects."
        )
    if isinstance(target, str) and target in dataset.classes:
        return dataset.classes.index(target)
    if isinstance(target, int | np.integer) and 0 <= target < len(dataset.classes):
        return int(target)
    raise ValueError(
        f"{dataset.name} has no class {target!r}: give a label from 0 to {len(dataset.classes) - 1}, or a "
        f"name, one of {', '.join(dataset.classes)}."
    )


def _cut(
    rng: np.random.Generator, dataset: Dataset, index: np.ndarray, share: float, by_group: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(drawn, rest): about `share` of the images, class by class, no group torn apart."""
    if not 0 <= share <= 1:
        raise ValueError(f"validation = {share} came; it is a share, from 0 to 1.")
    of_group = dataset.groups if by_group and dataset.groups is not None else np.arange(len(dataset))
    groups, which, sizes = np.unique(of_group[index], return_inverse=True, return_counts=True)
    kinds = np.zeros(len(groups), int)  # a group that has images of several classes counts as the last
    np.maximum.at(kinds, which, dataset.labels[index])
    drawn = np.zeros(len(groups), bool)
    for kind in np.unique(kinds):
        order = rng.permutation(np.flatnonzero(kinds == kind))
        filled = np.r_[0, np.cumsum(sizes[order])]  # images in the first 0, 1, 2, ... groups
        drawn[order[: abs(filled - share * filled[-1]).argmin()]] = True
    if len(index) and 0 < share < 1 and (drawn.all() or not drawn.any()):
        raise ValueError(
            f"a share of {share:g} of {len(index)} images of {dataset.name} comes to none or all of them: "
            "more images (or groups) are needed, or another share."
        )
    return index[drawn[which]], index[~drawn[which]]


def _apart(dataset: Dataset, index: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """The images of `index` that share no group with those taken."""
    if dataset.groups is None:
        return index
    return index[~np.isin(dataset.groups[index], dataset.groups[taken])]


def _balance(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, most: int | None = None) -> np.ndarray:
    """Equally many of both, drawn at random: as many as there are, or `most`."""
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
            f"{title}: {len(train)} images for training, {(~anomalous[test]).sum()} normal and "
            f"{anomalous[test].sum()} anomalous ones for testing, and none of these may be 0."
        )
    height, width = dataset.images.shape[1:3]
    known = dataset.labels if dataset.subclasses is None else dataset.subclasses
    classes = len(np.unique(known[train[~anomalous[train]]]))
    text = f"{title}\n  train       {_count(labels[train])}, {height}x{width}"
    if classes > 1:
        text += f", {classes} classes"
    if labels[train].any():
        text += f", gamma {labels[train].mean():.3g}, {'' if labelled else 'un'}labelled"
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
    balanced = " (balanced)" if 2 * a == n else ""
    return f"{n} images, " + (f"{n - a} normal + {a} anomalous{balanced}" if a else "all normal")
