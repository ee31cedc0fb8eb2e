"""`Dataset`: labelled images and what is known about them; and how a large one is thinned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minigan.checks import is_whole_number, require

#: The fields of a Dataset that hold one entry for each image. Thinning selects from them, and the cache keeps
#: them; a new field of this kind is entered here and in the class, nowhere else.
ARRAYS = ("images", "labels", "official", "masks", "groups", "subclasses")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images, and what is known about them. Parts that do not fit together raise a ValueError."""

    #: What it is called in descriptions.
    name: str
    #: (n, h, w) or (n, h, w, c) uint8 in [0, 255].
    images: np.ndarray
    #: (n,) int64; `classes[label]` is the name of a label.
    labels: np.ndarray
    #: The names of the classes.
    classes: tuple[str, ...]
    #: (n,) "train" or "test", where the publisher has such a split.
    official: np.ndarray | None = None
    #: (n, h, w) bool, True on the defective pixels.
    masks: np.ndarray | None = None
    #: (n,) int, equal where images show the same thing or share pixels.
    groups: np.ndarray | None = None
    #: True: class 0 is "good" and every other class a kind of defect.
    defects: bool = False
    #: (n,) int64, what an image shows where its class says in which state: the species of a healthy leaf.
    subclasses: np.ndarray | None = None
    #: The names of the sub-classes.
    subclass_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(
            self.images.dtype == np.uint8 and self.images.ndim in (3, 4),
            "expected images to be uint8 of shape (n, h, w) or (n, h, w, c), got "
            f"{self.images.dtype} of shape {self.images.shape}; stack them and scale them to 0..255",
        )
        for field in ARRAYS:
            values = getattr(self, field)
            if values is not None and len(values) != len(self):
                raise ValueError(
                    f"expected {field} to have one entry for each of {len(self)} images, got {len(values)}"
                )
        _check_named("labels", self.labels, "classes", self.classes)
        if self.subclasses is not None:
            _check_named("subclasses", self.subclasses, "subclass_names", self.subclass_names)
        require(
            self.official is None or bool(np.isin(self.official, ("train", "test")).all()),
            'expected official to be "train" or "test" for every image, got other words',
        )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        colour = self.images.ndim == 4 and self.images.shape[3] == 3
        text = f"{self.name}: {len(self)} images, {height}x{width}, {'colour' if colour else 'grey'}"
        text += f"\n  classes  {_counts(self.labels, self.classes)}"
        if self.subclasses is not None:
            text += f"\n  of       {_counts(self.subclasses, self.subclass_names)}"
        if self.official is not None:
            train = int((self.official == "train").sum())
            text += f"\n  official {train} train, {len(self) - train} test"
        return text


def check_size(name: str, size: int, smallest: int = 8, largest: int = 1024) -> None:
    """Raise a ValueError unless `size` is a side length in pixels at which the images of a set are given."""
    require(
        is_whole_number(size) and smallest <= size <= largest,
        f"expected the size of {name} to be a whole number of pixels from {smallest} to {largest}, got "
        f"{size!r}",
    )


def thinned(dataset: Dataset, n: int) -> Dataset:
    """About n images, drawn at random with a fixed seed: of each class the same fraction, but at least one.

    Of an official test part, at least 1000 images stay (or half of n, or all): an AUROC of a few images would
    say nothing. A set of n images or fewer is returned as it is.
    """
    if n >= len(dataset):
        return dataset
    test = np.zeros(len(dataset), bool) if dataset.official is None else dataset.official == "test"
    n_test = min(test.sum(), max(n * test.mean(), min(1000, n / 2)))
    of_test, of_train = n_test / max(1, test.sum()), (n - n_test) / max(1, (~test).sum())
    fraction = np.where(test, of_test, of_train)  # (len(dataset),), what stays of the images like this one

    known = [dataset.labels, test]  # these distinguish kinds of images
    if dataset.subclasses is not None:
        known.append(dataset.subclasses)
    _, kinds = np.unique(np.stack(known), axis=1, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(dataset))
    chosen = []
    for kind in range(kinds.max() + 1):
        members = order[kinds[order] == kind]
        chosen.append(members[: max(1, round(len(members) * fraction[members[0]]))])
    index = np.sort(np.concatenate(chosen))
    arrays: dict[str, Any] = {field: getattr(dataset, field) for field in ARRAYS}
    return replace(dataset, **{field: x[index] for field, x in arrays.items() if x is not None})


def _check_named(field: str, values: np.ndarray, names_field: str, names: tuple[str, ...]) -> None:
    """Every label has a name."""
    if len(values) and not 0 <= values.min() <= values.max() < len(names):
        raise ValueError(
            f"expected {field} to index the {len(names)} names in {names_field}, got values from "
            f"{values.min()} to {values.max()}; name each of them"
        )


def _counts(labels: np.ndarray, names: tuple[str, ...]) -> str:
    """Each name with its number of images: "good (400), scratch (40)"."""
    counts = np.bincount(labels, minlength=len(names))
    return ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True))
