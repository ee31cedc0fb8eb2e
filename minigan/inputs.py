"""Checks of what is given to `fit` and to scoring: labels, and what the values of images mean."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from minigan.checks import is_whole_number, require

#: Items that are not trained on, and their labels (n,) int64: 0 normal, 1 anomalous.
Validation = tuple[Tensor, np.ndarray]


def check_kind(x: Tensor, takes: tuple[str, ...], name: str) -> Tensor:
    """x, unless it is images (n, c, h, w) or vectors (n, d) and the method called `name` takes the others."""
    kind = "images" if x.ndim == 4 else "vectors"
    if kind not in takes:
        hint = "; pass a single image as image[None]" if kind == "vectors" else ""
        raise ValueError(f"expected {takes[0]} for {name}, got {kind} of shape {tuple(x.shape)}{hint}")
    return x


def check_enough(x: Tensor) -> None:
    """Refuse fewer than two training items."""
    require(len(x) >= 2, f"expected at least 2 training images, got {len(x)}; pass 100 or more if you can")


def training_labels(
    labels: Any, n: int, meaning: Literal["ignored", "anomalies", "classes"]
) -> Tensor | None:
    """The labels that `fit` was given, checked as what they mean; only counted where they are ignored."""
    if labels is None or meaning == "ignored":
        if labels is not None:  # names and floats, too, as in scikit-learn
            _one_each(labels, n)
        return None
    y = check_labels(labels, n)
    if meaning == "anomalies":
        check_binary(y, "labels", needs_normal=True)
    return y


def check_labels(labels: Any, n: int | None) -> Tensor:
    """Labels as an int64 tensor, (n,); ValueError unless they are n whole numbers. None is any number."""
    array = _one_each(labels, n)
    floats = "use labels.astype(int) if they are 0.0 and 1.0, else "
    require(
        array.dtype.kind in "biu",
        f"expected labels that are whole numbers, got {array.dtype}; "
        f"{floats if array.dtype.kind == 'f' else ''}number names by "
        "numpy.unique(labels, return_inverse=True)[1]",
    )
    return torch.from_numpy(array.astype(np.int64))


def _one_each(labels: Any, n: int | None) -> np.ndarray:
    """Labels of any kind as an array, (n,); ValueError if they are of another shape."""
    how = "pass one for each image, in the order of the images"
    try:
        array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:  # lists of different lengths in it
        raise ValueError(
            f"expected a label for each image, got lists that differ in length; {how}"
        ) from error
    require(
        array.ndim == 1 and len(array) == (len(array) if n is None else n),
        f"expected {'labels (n,)' if n is None else f'{n} labels'}, one per image, got shape {array.shape}; "
        f"{how}",
    )
    return array


def check_binary(y: Tensor, name: str, needs_normal: bool = False) -> None:
    """Refuse labels, (n,), other than 0 (normal) and 1 (anomalous); `needs_normal`: some must be 0."""
    known = np.unique(y.numpy()).tolist()
    if needs_normal:
        good, also = set(known) <= {0, 1} and 0 in known, ", some of them 0, got only"
    else:
        good, also = set(known) <= {0, 1}, ", got"
    require(good, f"expected {name} 0 (normal) and 1 (anomalous){also} {known[:5]}")


def check_pair(validation: Any) -> tuple[Any, Any]:
    """The images and labels of `validation`; TypeError unless it is a pair."""
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError(
            "expected validation to be a pair (images, labels), where labels may be None for 'all "
            f"normal', got {type(validation).__name__}"
        )
    images, labels = validation
    return images, labels


def range_of(x: Tensor) -> Literal["uint8", "float", "unit"]:
    """How the values of images are given: bytes, floats below 0 too, or floats that are never below 0."""
    if x.dtype == torch.uint8:
        return "uint8"
    return "unit" if x.ndim == 4 and bool(x.min() >= 0) else "float"


def warn_if_unit_range(x: Tensor) -> None:
    """Warn when float training images never go below 0: they were probably meant as [0, 1]."""
    if range_of(x) == "unit":
        warnings.warn(
            "float images are read as [-1, 1], but none of these values is below 0; "
            "if black is 0 and white is 1, pass 2 * x - 1",
            stacklevel=5,
        )


def warn_about_training(x: Tensor) -> None:
    """Warn of training items that were probably not meant so: another range, or one image again and again."""
    warn_if_unit_range(x)
    if x.ndim == 4 and all(bool((part == x[:1]).all()) for part in x.split(1000)):  # without a whole copy
        warnings.warn("all training images are identical; every score will be about them", stacklevel=4)


def warn_if_other_range(got: str, trained: str | None, up: int = 5) -> None:
    """Warn when the values of images cannot mean what those of the training images meant.

    Bytes and floats in [-1, 1] are brought to the same values, so one may follow the other. What `trained`
    was is not known of a detector that an earlier version of minigan saved (None).
    """
    if trained is None or trained == got or "unit" not in (trained, got):
        return
    if got == "unit":
        text = (
            "expected images as in fit, where black is 0 as uint8 or -1 as float, got floats "
            "none of which is below 0; if black is 0 and white is 1, pass 2 * x - 1"
        )
    else:
        text = (
            "expected images as in fit, which were floats none of which was below 0, got others; prepare "
            "them as the training images were, or fit again with 2 * x - 1 if black was 0 there"
        )
    warnings.warn(text, stacklevel=up)


def saved_shape(shape: Any, image_size: int | None) -> tuple[int, ...]:
    """The shape of training items in a file, checked: (d,), or (c, h, w) in the size that images get."""
    whole = isinstance(shape, list) and all(is_whole_number(n) and n > 0 for n in shape)
    require(whole and len(shape) in (1, 3), f"expected the shape of an item, got {shape!r}")
    fits = image_size is None or len(shape) == 1 or shape[1:] == [image_size, image_size]
    require(fits, f"expected images of {image_size} x {image_size} pixels, got the shape {shape}")
    return tuple(shape)
