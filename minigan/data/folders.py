"""A folder of images as a data set, recognised by its sub-folders; and helpers for sets of image files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minigan.data.dataset import Dataset, check_size
from minigan.image_files import SUFFIXES, find_images, read_images, read_masks


def folder(path: str | Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """Any folder of images, recognised by its sub-folders. No copy of it is kept in the data folder.

    With `train/` and `test/`, and all training images in `train/good`, it is a defect set: the other folders
    in `test/` are the defects, and `ground_truth/<defect>/<name>_mask.png` their masks. With `train/` and
    `test/` and a sub-folder for each class in them, perhaps `val/` too, it has classes and an official split;
    what is in `val/` counts as test. Otherwise each sub-folder is a class, and images without sub-folders are
    of a single class.

    Classes are in the order of their names. Without a `size` all images must have the same; with `grayscale`
    they are made grey, else they are colour when any of them is.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: images lie beside the sub-folders; one cannot be read; sizes differ.
    """
    if size is not None:
        check_size("images", size)
    path = Path(path)
    return read_tree(path, path.resolve().name, size, 1 if grayscale else None)


def read_tree(
    path: Path,
    name: str,
    size: int | None,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
    group_of: Callable[[str], str | None] | None = None,
) -> Dataset:
    """The data set in a folder; see `folder` for what its sub-folders mean.

    Args:
        path, name: the folder, and what the data set is called.
        size, channels: see `image_files.read_images`.
        classes: the sub-folders to read, in their order. None reads all, in the order of their names.
        group_of: derives an image's group from its file's name; None where it is a group of its own.
    """
    parts = [part for part in ("train", "test", "val") if (path / part).is_dir()]
    if "train" not in parts or "test" not in parts:
        parts = [""]  # no official split; path / "" is path
    in_part = {part: _subfolders(path / part) for part in parts}
    defects = classes is None and in_part.get("train") == ["good"]
    if classes is None:
        classes = sorted(set().union(*in_part.values()))
        if defects:  # "good" comes first
            classes = ["good", *(kind for kind in classes if kind != "good")]
    in_part = {part: [kind for kind in found if kind in classes] for part, found in in_part.items()}
    if not classes:  # images without sub-folders
        in_part, classes = dict.fromkeys(parts, [""]), [""]
    for part in parts:
        if not in_part[part]:
            raise ValueError(
                f"expected sub-folders of {str(path / part)!r} for the classes {', '.join(classes)}, got "
                "none; put the images of each class into one"
            )

    found = [
        (file, kind, part)
        for part in parts
        for kind in in_part[part]
        for file in find_images(path / part / kind)
    ]
    files = [file for file, _, _ in found]
    labels = np.array([list(classes).index(kind) for _, kind, _ in found])
    official = np.array(["train" if part == "train" else "test" for _, _, part in found])
    images = read_images(files, size, channels, name)
    groups = None
    if group_of is not None:
        places = [file.relative_to(path).as_posix() for file in files]
        groups = group_numbers([group_of(file.name) for file in files], places)
    return Dataset(
        name=name,
        images=images,
        labels=labels,
        classes=tuple(kind or path.resolve().name for kind in classes),
        official=None if parts == [""] else official,
        masks=_masks(path, files, labels, images.shape[1:3]) if defects else None,
        groups=groups,
        defects=defects,
    )


def _subfolders(path: Path) -> list[str]:
    """The names of the sub-folders, sorted; ValueError when images lie beside them."""
    if not path.is_dir():
        return []
    visible = sorted(x for x in path.iterdir() if not x.name.startswith("."))
    folders = [x.name for x in visible if x.is_dir()]
    loose = [x.name for x in visible if x.is_file() and x.suffix.lower() in SUFFIXES]
    if folders and loose:
        raise ValueError(
            f"expected all images in sub-folders of {str(path)!r}, got {loose[0]!r} beside them; put the "
            "images of each class into a sub-folder of their own"
        )
    return folders


def _masks(path: Path, files: list[Path], labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """The masks in ground_truth/; None if there are none, or, with a warning, if some are missing."""
    truth = path / "ground_truth"
    masks = [
        if_file(truth / file.parent.name / f"{file.stem}_mask.png") if label else None
        for file, label in zip(files, labels, strict=True)
    ]
    lacking = [file for file, mask, label in zip(files, masks, labels, strict=True) if label and mask is None]
    if not lacking:
        return read_masks(masks, shape)
    if any(masks):
        warnings.warn(
            f"{len(lacking)} defective images have no mask in {str(truth)!r}, {lacking[0].name!r} for one; "
            "all masks are left out",
            stacklevel=2,
        )
    return None


# --- what other sets use --------------------------------------------------------------------------------


def labelled_files(path: Path, classes: Sequence[str], suffix: str = "") -> tuple[list[Path], np.ndarray]:
    """The image files in the sub-folders `classes`, class by class, and each one's class: (n,) int64."""
    files = [[x for x in find_images(path / kind) if x.suffix.lower().endswith(suffix)] for kind in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in files])
    return [file for part in files for file in part], labels


def if_file(path: Path) -> Path | None:
    """The path, if there is such a file."""
    return path if path.is_file() else None


def group_numbers(keys: Sequence[object], names: Sequence[str]) -> np.ndarray:
    """Group numbers of images, (n,) int64: equal where the keys are; an image with the key None is alone."""
    texts = [
        f"alone {name}" if key is None else f"group {key}" for key, name in zip(keys, names, strict=True)
    ]
    return np.unique(texts, return_inverse=True)[1].astype(np.int64)


def warn_of_leaks(dataset: Dataset, what: str) -> Dataset:
    """Warn, for the caller of `data.load`, when a set whose images belong together has no groups."""
    if dataset.groups is None:
        warnings.warn(
            f"{dataset.name}: nothing says which images are {what}, so a random split puts some on both "
            "sides and flatters every method",
            stacklevel=4,
        )
    return dataset
