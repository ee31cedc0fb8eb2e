"""Photographs as users keep them: which files of a folder are normal images, and which are masks or tests.

    chosen = normal_images("bottle/")     # MVTec AD: bottle/train alone; no test images, no masks
    chosen.files, chosen.left_out
    photographs("sorted.csv").anomalous   # a list of files with labels, where folders do not say what is what

Data sets of defects keep masks beside their photographs, or test images beside those to learn from. A
detector that learns from them learns that defects are normal, so they are recognised by their names and left
out, and whoever asks is told how many. Imports no torch.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from minigan.checks import require
from minigan.defaults import NORMAL
from minigan.image_files import SUFFIXES, find_images

#: Folders of masks, and of images that are not to be learned from.
MASKS, TESTS = "ground_truth", "test"
#: Names of masks end in one of these, as in "003_mask.png" beside "003.png".
MASK_ENDINGS = ("_mask", "-mask")
#: Columns of a CSV file that hold the paths, and the labels.
PATHS, LABELS = ("file", "path", "image"), ("label", "anomalous", "class")
#: What means normal in a column of labels, beside `NORMAL`; everything else is an anomaly.
NORMAL_LABELS = ("0", "0.0", "false", "no")


class Chosen(NamedTuple):
    """Image files of a folder, sorted, and how many others there are by the reason to leave them out.

    `root` is the folder that holds the files: sub-classes are its sub-folders. `anomalous` are the labels of
    a CSV file, where there are some.
    """

    files: list[Path]
    left_out: dict[str, int]
    root: Path
    anomalous: list[bool] | None = None

    def __str__(self) -> str:
        others = "; ".join(f"left out: {n} {reason}" for reason, n in self.left_out.items())
        return f"{len(self.files)} images{f' ({others})' if others else ''}"


def normal_images(folder: str | Path) -> Chosen:
    """The files to learn from: what lies in `train/` if there is such a folder, without tests and masks.

    Of folders that are sorted, as those to score may be, only what lies in those called `NORMAL` is learned
    from. `folder` may also be a CSV file, see `photographs`; images with other labels are left out.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
        ValueError: all images in it are masks, tests or anomalies.
    """
    folder = Path(folder)
    if is_list(folder):
        listed = _listed(folder)
        bad = [False] * len(listed.files) if listed.anomalous is None else listed.anomalous
        files = [path for path, anomaly in zip(listed.files, bad, strict=True) if not anomaly]
        require(
            len(files) > 0,
            f"expected normal images in {str(folder)!r}, got none of {len(bad)} with the label normal; "
            f"normal ones are called {', '.join((*NORMAL, *NORMAL_LABELS))}",
        )
        left_out = {"labelled as anomalous": sum(bad)} if any(bad) else {}
        return listed._replace(files=files, left_out=left_out, anomalous=None)
    root = folder / "train" if (folder / "train").is_dir() else folder

    def reason(path: Path) -> str | None:
        if root != folder and not path.is_relative_to(root):
            return f"in {TESTS}/" if TESTS in path.relative_to(folder).parts else "outside train/"
        return f"in {TESTS}/" if TESTS in path.relative_to(root).parts[:-1] else None

    chosen = _choose(folder, root, reason)
    outside = outside_normal(root, chosen.files)
    if not is_sorted(outside):
        return chosen
    files = [path for path, anomaly in zip(chosen.files, outside, strict=True) if not anomaly]
    named = f"outside of folders called {', '.join(NORMAL)}"
    return chosen._replace(files=files, left_out=chosen.left_out | {named: sum(outside)})


def photographs(folder: str | Path) -> Chosen:
    """The files to score: all but masks; or those of a CSV file.

    A CSV file has a first line with names: one of `PATHS` for the files, relative to the folder of the CSV
    file, and possibly one of `LABELS`; of the labels, `NORMAL` and `NORMAL_LABELS` mean normal. Raises as
    `normal_images`.
    """
    if is_list(Path(folder)):
        return _listed(Path(folder))
    return _choose(Path(folder), Path(folder), lambda path: None)


def is_list(path: str | Path) -> bool:
    """Whether a path is that of a CSV file, which lists images."""
    return Path(path).suffix.lower() == ".csv" and Path(path).is_file()


def labels_of(chosen: Chosen) -> list[bool]:
    """For each file, whether it is an anomaly: as the CSV file says, else if it is `outside_normal`."""
    if chosen.anomalous is not None:
        return chosen.anomalous
    return outside_normal(chosen.root, chosen.files)


def _listed(table: Path) -> Chosen:
    """The images that a CSV file lists, in its order."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin files with a mark
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"expected a CSV file in UTF-8, got {str(table)!r}, which cannot be read ({error}); save it anew"
        ) from error
    names = [name for name in rows[0] if name] if rows else []
    columns = {name.strip().lower(): name for name in names}
    paths = next((columns[name] for name in PATHS if name in columns), None)
    require(
        paths is not None,
        f"expected a CSV file with a column {', '.join(PATHS)}, got {str(table)!r} with "
        f"{', '.join(names) or 'no rows'}; name the column of the images in its first line",
    )
    labels = next((columns[name] for name in LABELS if name in columns), None)
    files = [Path(os.path.abspath(table.parent / (row[paths] or "").strip())) for row in rows]
    for line, path in enumerate(files, start=2):
        if not path.is_file():
            raise FileNotFoundError(
                f"expected paths of files in {str(table)!r}, got {str(path)!r} in line {line}, which is not "
                "there; paths are relative to the folder of the CSV file"
            )
    root = Path(os.path.commonpath([path.parent for path in files]))
    if labels is None:
        return Chosen(files, {}, root)
    given = [(row[labels] or "").strip().lower() for row in rows]
    require(
        "" not in given,
        f"expected a label for each image of {str(table)!r}, got none for {given.count('')} of {len(given)}; "
        f"fill in {labels}, or leave the column away",
    )
    return Chosen(files, {}, root, [label not in (*NORMAL, *NORMAL_LABELS) for label in given])


def is_sorted(anomalous: Sequence[bool]) -> bool:
    """Whether images of both kinds are there."""
    return 0 < sum(anomalous) < len(anomalous)


def folders_of(chosen: Chosen) -> str:
    """The sub-folders of `root` with files in them, "'a/', 'b/', 'c/' and 2 more"; "" if all lie in one."""
    first = {path.relative_to(chosen.root).parts[:-1][:1] for path in chosen.files}
    names = sorted(repr(f"{name}/") for parts in first for name in parts) if len(first) > 1 else []
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def behind_links(chosen: Chosen) -> int:
    """How many files lie outside of `root`, where symbolic links lead."""
    root = os.path.realpath(chosen.root)
    return sum(not Path(os.path.realpath(path)).is_relative_to(root) for path in chosen.files)


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
    hidden = _hidden(folder)
    if hidden:
        left_out["hidden"] = hidden
    chosen = Chosen(files, left_out, root)
    require(
        len(files) > 0,
        f"expected photographs in {str(folder)!r}, got {chosen}; pass the folder that holds them",
    )
    return chosen


def _hidden(folder: Path) -> int:
    """How many image files have a name with a period before it, in folders that are not hidden themselves."""
    n = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        n += sum(name.startswith(".") and Path(name).suffix.lower() in SUFFIXES for name in files)
    return n


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
