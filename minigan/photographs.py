"""Photographs as users keep them: which files of a folder are normal images, and which are masks or tests.

    chosen = normal_images("bottle/")     # MVTec AD: bottle/train alone; no test images, no masks
    chosen.files, chosen.left_out

Data sets of defects keep masks beside their photographs, or test images beside those to learn from. A
detector that learns from them learns that defects are normal, so they are recognised by their names and left
out, and whoever asks is told how many. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from minigan.checks import require
from minigan.image_files import SUFFIXES, find_images

#: Folders of masks, and of images that are not to be learned from.
MASKS, TESTS = "ground_truth", "test"
#: Names of masks end in one of these, as in "003_mask.png" beside "003.png".
MASK_ENDINGS = ("_mask", "-mask")
#: Folders whose images are taken for normal ones, wherever they are among the images to tell apart.
NORMAL = ("good", "normal", "ok")


class Chosen(NamedTuple):
    """Image files of a folder, sorted, and how many others there are by the reason to leave them out.

    `root` is the folder that holds the files: sub-classes are its sub-folders.
    """

    files: list[Path]
    left_out: dict[str, int]
    root: Path

    def __str__(self) -> str:
        others = "; ".join(f"left out: {n} {reason}" for reason, n in self.left_out.items())
        return f"{len(self.files)} images{f' ({others})' if others else ''}"


def normal_images(folder: str | Path) -> Chosen:
    """The files to learn from: what lies in `train/` if there is such a folder, without tests and masks.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
        ValueError: all images in it are masks or tests.
    """
    folder = Path(folder)
    root = folder / "train" if (folder / "train").is_dir() else folder

    def reason(path: Path) -> str | None:
        if root != folder and not path.is_relative_to(root):
            return f"in {TESTS}/" if TESTS in path.relative_to(folder).parts else "outside train/"
        return f"in {TESTS}/" if TESTS in path.relative_to(root).parts[:-1] else None

    return _choose(folder, root, reason)


def photographs(folder: str | Path) -> Chosen:
    """The files to score: all but masks. Raises as `normal_images`."""
    return _choose(Path(folder), Path(folder), lambda path: None)


def is_sorted(anomalous: Sequence[bool]) -> bool:
    """Whether images of both kinds are there."""
    return 0 < sum(anomalous) < len(anomalous)


def outside_normal(root: str | Path, files: Sequence[Path]) -> list[bool]:
    """For each file, whether it lies in no folder called good, normal or ok: these are the anomalies.

    Folders that `root` itself lies in do not count.
    """
    inside = [{part.lower() for part in path.relative_to(root).parts[:-1]} for path in files]
    return [parts.isdisjoint(NORMAL) for parts in inside]


def masks_of(root: str | Path, files: Sequence[Path]) -> list[Path | None]:
    """The mask of each photograph, None where there is none.

    It lies beside the photograph, or under `ground_truth/` where the photograph lies under `test/`, as in
    MVTec AD (test/broken/003.png, ground_truth/broken/003_mask.png); `root` may be the folder `test` or the
    one above.
    """
    return [_mask_of(path, Path(root)) for path in files]


def _mask_of(path: Path, root: Path) -> Path | None:
    base = root.parent if root.name == TESTS else root
    parts = path.relative_to(base).parts
    mirrored = base.joinpath(MASKS, *parts[TESTS in parts[:1] :]).parent
    for folder in (path.parent, mirrored):
        names = [f"{path.stem}{ending}{suffix}" for ending in MASK_ENDINGS for suffix in SUFFIXES]
        if folder == mirrored:
            names += [f"{path.stem}{suffix}" for suffix in SUFFIXES]
        elif path.suffix.lower() in (".jpg", ".jpeg"):
            names.append(f"{path.stem}.png")
        found = [folder / name for name in names if (folder / name).is_file()]
        if found:
            return found[0]
    return None


def _choose(folder: Path, root: Path, reason: Callable[[Path], str | None]) -> Chosen:
    found = find_images(folder)
    beside: dict[Path, set[str]] = {}  # what lies in each folder: names in small letters, and their stems
    for path in found:
        beside.setdefault(path.parent, set()).update((path.name.lower(), path.stem.lower()))
    files: list[Path] = []
    left_out: dict[str, int] = {}
    for path in found:
        why = "masks" if _is_mask(path, folder, beside[path.parent]) else reason(path)
        if why is None:
            files.append(path)
        else:
            left_out[why] = left_out.get(why, 0) + 1
    chosen = Chosen(files, left_out, root)
    require(
        len(files) > 0,
        f"expected photographs in {str(folder)!r}, got {chosen}; pass the folder that holds them",
    )
    return chosen


def _is_mask(path: Path, folder: Path, beside: set[str]) -> bool:
    """Whether a file lies in `ground_truth/`, or is the mask of a photograph beside it.

    That is "003_mask.png" beside "003" with any suffix, and "003.png" beside "003.jpg", because a mask must
    not be blurred and a photograph may be.
    """
    if MASKS in path.relative_to(folder).parts[:-1]:
        return True
    stem = path.stem.lower()
    if any(stem.endswith(ending) and stem.removesuffix(ending) in beside for ending in MASK_ENDINGS):
        return True
    return path.suffix.lower() == ".png" and not beside.isdisjoint((f"{stem}.jpg", f"{stem}.jpeg"))
