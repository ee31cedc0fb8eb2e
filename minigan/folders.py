"""A folder of images as a data set: what its sub-folders mean, and the helpers that the other sets share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minigan import datafiles
from minigan.data import Dataset, _check_size


def folder(path: str | Path, size: int | None = None, grayscale: bool = False) -> Dataset:
    """Any folder of images, recognised by its sub-folders. Nothing of it is copied to the data folder.

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
        _check_size("images", size, 8, 1024)
    path = Path(path)
    return tree(path, path.resolve().name, size, grayscale)


def tree(
    path: Path,
    name: str,
    size: int | None,
    grayscale: bool = False,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
    group_of: Callable[[str], object] | None = None,
) -> Dataset:
    """The data set in a folder, see `folder`.

    `classes` are the sub-folders to read and their order; `group_of` tells a group from the name of a file.
    """
    parts = [part for part in ("train", "test", "val") if (path / part).is_dir()]
    if not {"train", "test"} <= set(parts):
        parts = [""]  # path / "" is path
    inside = {part: [x for x in _folders(path / part) if classes is None or x in classes] for part in parts}
    defects = classes is None and inside.get("train") == ["good"]
    if classes is None:
        classes = sorted(set().union(*inside.values()), key=lambda x: (defects and x != "good", x))
    if not classes:
        inside, classes = dict.fromkeys(parts, [""]), [""]
    for part in parts:
        if not inside[part]:
            raise ValueError(
                f"{str(path / part)!r} has no sub-folder for any of the classes {', '.join(classes)}: put "
                "the images of each class into one"
            )

    found = [
        (x, kind, part) for part in parts for kind in inside[part] for x in image_files(path / part / kind)
    ]
    files = [file for file, *_ in found]
    labels = np.array([list(classes).index(kind) for _, kind, _ in found])
    official = np.array(["train" if part == "train" else "test" for *_, part in found])
    images = datafiles.read_images(files, size, 1 if grayscale else channels, name)
    groups = None
    if group_of is not None:
        names = {file.relative_to(path).as_posix(): file.name for file in files}
        groups = numbered(lambda key: group_of(names[key]), list(names))
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


def _masks(path: Path, files: list[Path], labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """Those in ground_truth/; None if none belongs to these images, or with a warning if some are missing."""
    truth = path / "ground_truth"
    masks = [
        if_file(truth / file.parent.name / f"{file.stem}_mask.png") if label else None
        for file, label in zip(files, labels, strict=True)
    ]
    lacking = [file for file, mask, label in zip(files, masks, labels, strict=True) if label and mask is None]
    if not lacking:
        return datafiles.read_masks(masks, shape)
    if any(masks):
        warnings.warn(
            f"{len(lacking)} defective images have no mask in {str(truth)!r}, {lacking[0].name!r} for one: "
            "all masks are left out",
            stacklevel=2,
        )
    return None


# --- what they share ------------------------------------------------------------------------------------


def image_files(folder: Path) -> list[Path]:
    """The image files below a folder, sorted; FileNotFoundError if there are none."""
    from minigan import images  # needs torch, which a set that is kept already does not

    return images.image_files(folder)


def labelled_files(top: Path, classes: Sequence[str], suffix: str = "") -> tuple[list[Path], np.ndarray]:
    """The image files in each of these sub-folders, class by class, and (n,) int64 which one each is from."""
    files = [[x for x in image_files(top / name) if x.suffix.lower().endswith(suffix)] for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(part) for part in files])
    return [file for part in files for file in part], labels


def _folders(path: Path) -> list[str]:
    """The names of the sub-folders; ValueError when images lie beside them."""
    from minigan.images import SUFFIXES

    if not path.is_dir():
        return []
    visible = sorted(x for x in path.iterdir() if not x.name.startswith("."))
    folders = [x.name for x in visible if x.is_dir()]
    loose = [x.name for x in visible if x.is_file() and x.suffix.lower() in SUFFIXES]
    if folders and loose:
        raise ValueError(
            f"the image {loose[0]!r} lies in {str(path)!r} beside sub-folders; put the images of each class "
            "into a sub-folder of their own"
        )
    return folders


def if_file(path: Path) -> Path | None:
    """The path, if there is such a file."""
    return path if path.is_file() else None


def numbered(key_of: Callable[[str], object], names: Sequence[str]) -> np.ndarray:
    """Group numbers, (n,) int64: equal where `key_of(name)` is equal; those without a key are alone."""
    keys = [key_of(name) for name in names]
    texts = [
        f"alone {name}" if key is None else f"group {key}" for key, name in zip(keys, names, strict=True)
    ]
    return np.unique(texts, return_inverse=True)[1].astype(np.int64)
