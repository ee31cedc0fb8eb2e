"""Files under the data folder: finding a set, unpacking its archive, reading its images, keeping a copy.

`benchmarks.py` says what each data set looks like; this file knows nothing of any of them.

* A set lives in `data/<name>/`, unpacked or as the archive that its publisher offers.
* What was read is kept in `data/cache/` as one file of plain arrays, written whole or not at all. It is made
  anew when options or files have changed, and stays good when the files have been deleted.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps
from tqdm import tqdm

from minigan.data import Dataset

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(RuntimeError, NotImplementedError),  # a password, a kind of compression that Python does not know
)
FIELDS = ("images", "labels", "official", "masks", "groups", "subclasses")  # the arrays of a Dataset


ROOT = Path(__file__).resolve().parents[1]  # of the checkout, where this is one


def data_folder() -> Path:
    """Where data sets and `results/` are: $MINIGAN_DATA if set, else `data` in the checkout or right here."""
    if os.environ.get("MINIGAN_DATA"):
        return Path(os.environ["MINIGAN_DATA"]).resolve()
    checkout = (ROOT / "pyproject.toml").is_file()
    return (ROOT if checkout else Path.cwd()) / "data"


# --- finding and unpacking ------------------------------------------------------------------------------


def find(home: Path, sign: str, unpacking: bool = False, depth: int = 4) -> Path | None:
    """The shallowest folder that has something matching the glob pattern `sign` in it, or None.

    Publishers and file managers wrap a set into one or two folders more; this looks through them, from `home`
    itself to `depth` levels below, hidden folders left out. With `unpacking`, archives in `home` are unpacked
    one by one until the folder shows.
    """
    level = [home] if home.is_dir() else []
    for _ in range(depth + 1):
        for folder in level:
            if any(folder.glob(sign)):
                return folder
        entries = [entry for folder in level for entry in sorted(os.scandir(folder), key=lambda x: x.name)]
        level = [Path(x.path) for x in entries if x.is_dir() and not x.name.startswith(".")]
    for archive in archives(home) if unpacking else ():
        found = find(unpack(archive), sign)
        if found is not None:
            return found
    return None


def archives(home: Path) -> list[Path]:
    """The archives in a folder, by name."""
    return sorted(
        x for x in home.glob("*") if x.name.lower().endswith(ARCHIVES) and not x.name.startswith(".")
    )


def unpack(archive: Path) -> Path:
    """Unpack a .zip or .tar.* file into a folder of its own, beside it and named like it; returns that.

    The folder appears when everything is in it. When it is there already, nothing is done. Only files are
    unpacked, and only to places inside the folder.

    Raises:
        ValueError: the archive is damaged, or a member is a link or would land outside the folder.
    """
    ending = next(end for end in sorted(ARCHIVES, key=len)[::-1] if archive.name.lower().endswith(end))
    target = archive.with_name(archive.name[: -len(ending)] or "unpacked")
    # In a hidden folder first, which the search for sets passes over; what a killed process left is removed.
    partial = archive.with_name(f".unpacking-{target.name}")
    members = _zip_members if ending == ".zip" else _tar_members
    with FileLock(archive.with_name(f".{archive.name}.lock")):
        if target.is_dir():  # unpacked before, or by another process meanwhile
            return target
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for name, content in members(archive):
                place = partial.joinpath(*PurePosixPath(name).parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as out:
                    shutil.copyfileobj(content, out, 1 << 20)
            os.replace(partial, target)
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno:  # no space left, and the like
                raise
            raise ValueError(
                f"the archive {str(archive)!r} is damaged or not complete ({reason(error)}): get it again"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def reason(error: Exception) -> str:
    """The first sentence of what an error of another library says, to be put in brackets."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".:") or type(error).__name__


def _zip_members(archive: Path) -> Iterator[tuple[str, Any]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                link = stat.S_ISLNK(member.external_attr >> 16)  # a link made by a Unix zip
                yield _checked(archive, member.filename, link), opened.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, Any]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if not member.isdir():
                yield _checked(archive, member.name, not member.isreg()), opened.extractfile(member)
        # tarfile takes a damaged header for the end, and leaves the checksum behind the end unread.
        rest = 0
        while block := opened.fileobj.read(1 << 20):
            rest += len(block)
            if block.strip(b"\0"):
                raise tarfile.ReadError("a damaged header")
        if rest == 0:
            raise tarfile.ReadError("the end is missing")


def _checked(archive: Path, name: str, special: bool) -> str:
    """The name of a member that is a plain file inside the archive's own folder; else ValueError."""
    name = name.replace("\\", "/")
    path = PurePosixPath(name)
    outside = path.is_absolute() or any(part == ".." or re.match("[A-Za-z]:", part) for part in path.parts)
    if special or outside or not path.parts:
        why = "is a link or a device" if special else "would land outside its folder"
        raise ValueError(
            f"{name!r} in the archive {str(archive)!r} {why}: no published set needs that, so get the "
            "archive from its publisher"
        )
    return name


# --- reading images -------------------------------------------------------------------------------------


def read_images(
    files: Sequence[Path], size: int | None, channels: int | None = None, title: str = "images"
) -> np.ndarray:
    """Image files -> (n, h, w) or (n, h, w, 3) uint8, resized to `size` x `size` (bilinear, antialiased).

    `channels` is 1 for grey, 3 for RGB, None for RGB if any file has colour and grey if none has. Without a
    size all files have the same. A non-square image is squeezed, not cropped. ValueError: an image that
    cannot be read, or sizes that differ. On a terminal, a bar shows how far it is.
    """
    out: np.ndarray | None = None
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        arrays = pool.map(lambda path: _read_image(path, size, channels), files)
        for i, array in enumerate(tqdm(arrays, title, len(files), delay=1, disable=None)):
            if out is None:
                out = np.empty((len(files), *array.shape), np.uint8)
            if array.shape[:2] != out.shape[1:3]:
                raise ValueError(
                    f"images of different sizes: {str(files[0])!r} is {out.shape[2]} x {out.shape[1]} "
                    f"pixels, {str(files[i])!r} is {array.shape[1]} x {array.shape[0]}; pass size=64 to "
                    "resize them all"
                )
            if array.ndim > out.ndim - 1:  # the first file with colour
                out = np.repeat(out[..., None], 3, axis=3)
            out[i] = array[..., None] if array.ndim < out.ndim - 1 else array
    return out


def _read_image(path: Path, size: int | None, channels: int | None) -> np.ndarray:
    from minigan.images import _to_array

    try:
        with Image.open(path) as opened:
            image = Image.fromarray(_to_array(ImageOps.exif_transpose(opened)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"cannot read the image {str(path)!r} ({reason(error)}); it may be damaged: replace or remove it"
        ) from error
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(resized(image, size))


def resized(image: Image.Image, size: int | None) -> Image.Image:
    """Bilinear; where the image becomes smaller, Pillow averages all the pixels it stands for."""
    return image if size is None else image.resize((size, size), Image.BILINEAR)


def read_masks(files: Sequence[Path | None], shape: tuple[int, int]) -> np.ndarray:
    """Masks of images, None where nothing is marked -> (n, *shape) bool.

    A pixel is marked when any part of it is: a thin scratch must not vanish when images become small.
    """
    masks = np.zeros((len(files), *shape), bool)
    for mask, path in zip(masks, files, strict=True):
        if path is not None:
            marked = np.where(_read_image(path, None, 1) > 127, np.uint8(255), np.uint8(0))
            mask[:] = np.asarray(Image.fromarray(marked).resize(shape[::-1], Image.BOX)) > 0
    return masks


# --- the copy that is kept ------------------------------------------------------------------------------


def cached(
    path: Path,
    options: dict[str, Any],
    locate: Callable[[bool], Path | Sequence[Path] | None],
    read: Callable[..., Dataset],
) -> Dataset:
    """The data set in the cache file, or else what `read(*files)` makes of its files, which is then kept.

    Args:
        path: the cache file.
        options: all that the content depends on besides the files; anything that JSON can hold.
        locate: finds the files or folders of the set, one or several: `locate(False)` looks only and may
            return None, `locate(True)` may unpack and download too, and raises where that does not help.
        read: makes the data set from what was located.
    """

    def located(wanted: bool) -> Sequence[Path] | None:
        found = locate(wanted)
        return [found] if isinstance(found, Path) else found

    files = located(False)
    dataset = _kept(path, options, files)
    if dataset is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # a second process waits here and then finds the copy
            dataset = _kept(path, options, files)
            if dataset is None:
                files = files or located(True)
                dataset = read(*files)
                _keep(path, options, files, dataset)
    return dataset


def _kept(path: Path, options: dict[str, Any], files: Sequence[Path] | None) -> Dataset | None:
    """The copy; None if there is none, or none of these options and files, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["options"] != json.loads(json.dumps(options)):
                return None
            if files is not None and about["files"] != fingerprint(files):
                return None
            texts = {key: tuple(about[key]) for key in ("classes", "subclass_names")}
            fields = {key: arrays[key] for key in FIELDS if key in arrays.files}
            return Dataset(**fields, **texts, name=about["name"], defects=about["defects"])
    except (ValueError, KeyError, TypeError, *DAMAGED):
        return None


def _keep(path: Path, options: dict[str, Any], files: Sequence[Path], dataset: Dataset) -> None:
    about = {key: getattr(dataset, key) for key in ("name", "classes", "subclass_names", "defects")}
    about |= {"options": options, "files": fingerprint(files)}
    arrays = {key: getattr(dataset, key) for key in FIELDS if getattr(dataset, key) is not None}
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as out:
            np.savez(out, about=np.array(json.dumps(about)), **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fingerprint(paths: Sequence[Path]) -> str:
    """Changes when a file is added, removed, or written to. Contents are not read: names, sizes and times."""
    digest = hashlib.sha256()
    for top in paths:
        inside = sorted(top.rglob("*")) if top.is_dir() else [top]
        for path in (path for path in inside if path.is_file() and not path.name.startswith(".")):
            state = path.stat()
            name = path.relative_to(top.parent).as_posix()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()
