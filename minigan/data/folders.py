"""A folder of images as a data set, recognised by its sub-folders; and helpers for sets of image files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minigan.data.dataset import Dataset, check_size
from minigan.image_files import find_images, list_folder, read_images, walk
from minigan.mask_files import read_masks


def folder(path: str | Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """Any folder of images, recognised by its sub-folders. No copy of it is kept in the data folder.

    With `train/` and `test/`, and all training images in `train/good`, it is a defect set: the other folders
    in `test/` are the defects, and `ground_truth/<defect>/<name>_mask.png` their masks (or `<name>.png`, or
    another kind of image file; what counts as marked says `mask_files.read_masks`). With `train/` and
    `test/` and a sub-folder for each class in them, perhaps `val/` too, it has classes and an official split;
    what is in `val/` counts as test. Otherwise each sub-folder is a class, and images without sub-folders are
    of a single class.

    It warns, and leaves all masks out, where some defective images have none; it warns of masks that mark
    nothing, and of those that belong to no image.

    Classes are in the order of their names. Symbolic links are followed. Without a `size` all images must
    have the same; with `grayscale` they are made grey, else they are colour when any of them is.

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
        masks=_masks(path, found, labels, images.shape[1:3]) if defects else None,
        groups=groups,
        defects=defects,
    )


def _subfolders(path: Path) -> list[str]:
    """The names of the sub-folders, sorted; ValueError when images lie beside them."""
    if not path.is_dir():
        return []
    inside, files = list_folder(path)
    folders, loose = [x.name for x in inside], [x.name for x in files]
    if folders and loose:
        raise ValueError(
            f"expected all images in sub-folders of {str(path)!r}, got {loose[0]!r} beside them; put the "
            "images of each class into a sub-folder of their own"
        )
    return folders


def _masks(
    path: Path, found: list[tuple[Path, str, str]], labels: np.ndarray, shape: tuple[int, int]
) -> np.ndarray | None:
    """The masks in ground_truth/; None if there are none, or, with a warning, if some are missing."""
    truth = path / "ground_truth"
    places = [file.relative_to(path / part).with_suffix("") for file, _, part in found]
    masks_at = (
        {}
        if not truth.is_dir()
        else {file.relative_to(truth).with_suffix(""): file for file in sorted(walk(truth))}
    )
    names = [[place.with_name(f"{place.name}_mask"), place] for place in places]
    masks = [next((masks_at[name] for name in pair if name in masks_at), None) for pair in names]
    files = [file for file, *_ in found]
    lacking = [file for file, mask, label in zip(files, masks, labels, strict=True) if label and not mask]
    used = {name for pair in names for name in pair}
    stray = [file for name, file in masks_at.items() if name not in used]
    of_no_image = f"{len(stray)} of no image, {stray[0].name!r} for one" if stray else ""
    if lacking:
        if truth.is_dir():
            also = f", but {of_no_image}" if stray else ""
            warnings.warn(
                f"expected a mask for every defective image in {str(truth)!r}, got none for {len(lacking)} "
                f"of them, {lacking[0].name!r} for one{also}; name them like their images, 000_mask.png for "
                "000.png, since all masks are left out now",
                stacklevel=2,
            )
        return None
    if stray:
        warnings.warn(
            f"expected only masks of its images in {str(truth)!r}, got {of_no_image}; rename or remove these",
            stacklevel=2,
        )
    read = read_masks([mask if label else None for mask, label in zip(masks, labels, strict=True)], shape)
    warn_of_empty_masks(read, files, labels)
    return read


# --- what other sets use --------------------------------------------------------------------------------


def labelled_files(path: Path, classes: Sequence[str], suffix: str = "") -> tuple[list[Path], np.ndarray]:
    """The image files in the sub-folders `classes`, class by class, and each one's class: (n,) int64."""
    files = [[x for x in find_images(path / kind) if x.suffix.lower().endswith(suffix)] for kind in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in files])
    return [file for part in files for file in part], labels


def if_file(path: Path) -> Path | None:
    """The path, if there is such a file."""
    return path if path.is_file() else None


def warn_of_empty_masks(masks: np.ndarray, files: Sequence[Path], labels: np.ndarray) -> None:
    """Warn when the masks, (n, h, w) bool, of some defective images mark nothing; `files` are the images."""
    empty = np.flatnonzero((labels > 0) & ~masks.any((1, 2)))
    if len(empty):
        warnings.warn(
            f"expected a mask that marks something for every defective image, got none for {len(empty)} of "
            f"{(labels > 0).sum()}, {str(files[empty[0]])!r} for one; check their masks, since all of their "
            "pixels count as normal now",
            stacklevel=2,
        )


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
