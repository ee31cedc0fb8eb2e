"""Image files on disk: finding them, reading and resizing them into one uint8 array. Imports no torch.

    files = find_images("photos/")                       # sorted, sub-folders included
    images = read_images(files, size=64, channels=3)     # (n, 64, 64, 3) uint8

Whoever reads image files in minigan does it here, so a file always gives the same pixels: detectors that are
given a folder (`images.read_folder`), the data sets, and `data.load("folder")`. Pillow resizes them, linearly
and antialiased: where an image becomes smaller, a pixel is a weighted mean of all the pixels it stands for.
The recorded results of the benchmarks were made that way. (Arrays are resized by torch, see `images.resize`;
the two can differ by a grey level.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from minigan.checks import require

#: Names of image files end in one of these, in small or capital letters.
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def find_images(folder: str | Path) -> list[Path]:
    """The image files in a folder and its sub-folders, sorted by path; hidden files are left out.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected a folder of images, got {str(folder)!r}, which is not a folder; pass the path of one"
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise FileNotFoundError(
            f"expected image files in the folder {str(folder)!r}, got none; pass a folder with files that "
            f"end in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def folder_classes(folder: str | Path) -> np.ndarray:
    """The sub-folder of each image in `find_images(folder)`: (n,) int64, counted from 0 in sorted order.

    For methods that learn from sub-classes of the normal images: `fit(folder, folder_classes(folder))`.

    Raises:
        FileNotFoundError: see `find_images`.
        ValueError: an image lies beside the sub-folders, not in one.
    """
    paths = [path.relative_to(folder) for path in find_images(folder)]
    loose = [path for path in paths if len(path.parts) == 1]
    if loose:
        raise ValueError(
            f"expected all images in sub-folders of {str(folder)!r}, got {loose[0].name!r} beside them; put "
            "the images of each sub-class into a sub-folder of their own"
        )
    return np.unique([path.parts[0] for path in paths], return_inverse=True)[1].astype(np.int64)


def read_images(
    files: Sequence[Path], size: int | None = None, channels: int | None = None, title: str = "images"
) -> np.ndarray:
    """Image files as one array: (n, h, w) or (n, h, w, 3) uint8 in [0, 255].

    Args:
        files: their paths.
        size: resize every image to `size` x `size` pixels (Pillow, bilinear and antialiased; an image that is
            not square is squeezed, not cropped). None: all images must have one size already.
        channels: 1 for grey, 3 for RGB, None for RGB if any file has colour and grey if none has.
        title: stands beside the progress bar, which appears on a terminal when reading takes a while.

    Raises:
        ValueError: no files, one that cannot be read, or images of different sizes.
    """
    require(len(files) > 0, f"expected image files of {title}, got none; check what its folder holds")
    out: np.ndarray | None = None
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        arrays = pool.map(lambda path: _read_image(path, size, channels), files)
        for i, array in enumerate(tqdm(arrays, title, len(files), delay=1, disable=None)):
            if out is None:
                out = np.empty((len(files), *array.shape), np.uint8)
            if array.shape[:2] != out.shape[1:3]:
                (height, width), (first_height, first_width) = array.shape[:2], out.shape[1:3]
                raise ValueError(
                    f"expected images of one size, got {first_width} x {first_height} pixels in "
                    f"{str(files[0])!r} and {width} x {height} in {str(files[i])!r}; pass size=64 (for a "
                    "detector, image_size=64) to resize them all"
                )
            if array.ndim == 3 and out.ndim == 3:  # the first file with colour: all before it were grey
                out = np.repeat(out[..., None], 3, axis=3)
            out[i] = array[..., None] if array.ndim == 2 and out.ndim == 4 else array
    assert out is not None  # there is at least one file
    return out


def read_masks(files: Sequence[Path | None], shape: tuple[int, int]) -> np.ndarray:
    """Mask images resized to `shape`: (n, *shape) bool; all False where there is no file (None).

    A pixel is marked when any part of it is: a thin scratch must not vanish when images become small.
    """
    masks = np.zeros((len(files), *shape), bool)
    for mask, path in zip(masks, files, strict=True):
        if path is not None:
            marked = np.where(_read_image(path, None, 1) > 127, np.uint8(255), np.uint8(0))
            mask[:] = np.asarray(Image.fromarray(marked).resize(shape[::-1], Image.Resampling.BOX)) > 0
    return masks


def resized(image: Image.Image, size: int | None) -> Image.Image:
    """A Pillow image at `size` x `size` pixels, bilinear and antialiased; None leaves it as it is."""
    return image if size is None else image.resize((size, size), Image.Resampling.BILINEAR)


def reason(error: Exception) -> str:
    """The first sentence of another library's error message, to be quoted in brackets in one of ours."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".:") or type(error).__name__


def _read_image(path: Path, size: int | None, channels: int | None) -> np.ndarray:
    """One file: upright as its EXIF data say, converted to `channels`, then resized."""
    try:
        with Image.open(path) as opened:
            image = Image.fromarray(_to_array(ImageOps.exif_transpose(opened)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"expected an image file, got {str(path)!r}, which cannot be read ({reason(error)}); replace or "
            "remove it"
        ) from error
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(resized(image, size))


def _to_array(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image: (h, w) uint8 when it is grey, else (h, w, 3). Alpha is dropped."""
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip it, not scale it
        return (np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels without a known range, save it with 8 or 16 bits")
    return np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
