"""Image files on disk: finding them, reading and resizing them into one uint8 array. Imports no torch.

    files = find_images("photos/")                       # sorted, sub-folders included
    images = read_images(files, size=64, channels=3)     # (n, 64, 64, 3) uint8

Whoever reads image files in minigan does it here, so a file always gives the same pixels: detectors that are
given a folder (`images.read_folder`), the data sets, and `data.load("folder")`. Pillow resizes them, linearly
and antialiased: where an image becomes smaller, a pixel is a weighted mean of all the pixels it stands for.
The recorded results of the benchmarks were made that way. (Arrays are resized by torch, see `images.resize`;
the two can differ by a grey level.)

A JPEG is decoded whole, although Pillow could decode it at a smaller size in less time (`Image.draft`): the
pixels would be others than those of the whole image made small. `make bench` measures both.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile
from tqdm import tqdm

from minigan.checks import require

#: How an image that is not square becomes so: its sides are squeezed, the longer one is cropped to its
#: middle, or the shorter one is padded with the pixels of the border.
Squaring = Literal["squeeze", "crop", "pad"]

#: Names of image files end in one of these, in small or capital letters.
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def find_images(folder: str | Path) -> list[Path]:
    """The image files in a folder and its sub-folders, sorted by path; hidden files are left out.

    Symbolic links are followed, to files and to folders. A link back to a folder that it lies in is not: what
    is there is found already.

    Raises:
        FileNotFoundError: no such folder, no image file in it, or a link to what is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"expected a folder of images, got {str(folder)!r}, which is not a folder; pass the path of one"
        )
    files = sorted(walk(folder))
    if not files:
        raise FileNotFoundError(
            f"expected image files in the folder {str(folder)!r}, got none; pass a folder with files that "
            f"end in {', '.join(sorted(SUFFIXES))}"
        )
    return files


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the image files in a folder, each sorted; links are followed, hidden ones left out.

    Raises:
        FileNotFoundError: a link whose target is missing, and which may stand for a folder or an image.
    """
    folders, files = [], []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            files.append(path)
        elif path.suffix.lower() in SUFFIXES | {""} and path.is_symlink() and not path.exists():
            raise FileNotFoundError(
                f"expected links that lead somewhere, got {str(path)!r}, whose target is missing; restore "
                "what it points to, or remove it"
            )
    return folders, files


def walk(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All image files in a folder and its sub-folders, in no order; see `find_images`.

    `above` are the real paths of the folders that it lies in.
    """
    real = os.path.realpath(folder)
    if real not in above:
        folders, files = list_folder(folder)
        yield from files
        for path in folders:
            yield from walk(path, above | {real})


def folder_classes(folder: str | Path, files: Sequence[Path] | None = None) -> np.ndarray:
    """The sub-folder of each image in `find_images(folder)`: (n,) int64, counted from 0 in sorted order.

    For methods that learn from sub-classes of the normal images: `fit(folder, folder_classes(folder))`.
    `files` are those of the images that count, if they are not all.

    Raises:
        FileNotFoundError: see `find_images`.
        ValueError: an image lies beside the sub-folders, not in one.
    """
    paths = [path.relative_to(folder) for path in (find_images(folder) if files is None else files)]
    loose = [path for path in paths if len(path.parts) == 1]
    if loose:
        raise ValueError(
            f"expected all images in sub-folders of {str(folder)!r}, got {loose[0].name!r} beside them; put "
            "the images of each sub-class into a sub-folder of their own"
        )
    return np.unique([path.parts[0] for path in paths], return_inverse=True)[1].astype(np.int64)


def read_images(
    files: Sequence[Path],
    size: int | None = None,
    channels: int | None = None,
    title: str = "images",
    *,
    channels_first: bool = False,
    squaring: Squaring = "squeeze",
    unreadable: dict[Path, str] | None = None,
) -> np.ndarray:
    """Image files as one array: (n, h, w) or (n, h, w, 3) uint8 in [0, 255].

    The memory it takes is that of the result, and of a few images: every image is copied to its place in the
    result as soon as it is read, and only a few are read ahead.

    Args:
        files: their paths.
        size: resize every image to `size` x `size` pixels (Pillow, bilinear and antialiased). None: all must
            have one size already.
        channels: 1 for grey, 3 for RGB, None for RGB if any file has colour and grey if none has.
        title: stands beside the progress bar, which appears on a terminal when reading takes a while.
        channels_first: (n, c, h, w) instead, c = 1 or 3, as torch has it.
        squaring: what becomes of images that are not square when they are resized.
        unreadable: a dictionary in which files that cannot be read are noted with the reason; they have no
            row in the result. None refuses them.

    Raises:
        ValueError: no files, one that cannot be read or holds several images (with `unreadable`: all of
            them), or images of different sizes.

    It warns where the values of 16-bit files fill only the lowest quarter of their range.
    """
    require(len(files) > 0, f"expected image files of {title}, got none; check what its folder holds")
    axis = 1 if channels_first else 3  # that of the channels
    shape: tuple[int, ...] = ()  # of the first image
    out: np.ndarray = np.empty(0, np.uint8)
    brightest: dict[Path, int] = {}  # of the 16-bit files

    def read(path: Path) -> tuple[np.ndarray, int | None] | ValueError:
        try:
            return read_image(path, size, channels, squaring)
        except ValueError as error:
            return error

    i, first = 0, files[0]  # the next row, and the file of the first one
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        images = _in_order(pool, read, files, ahead=2 * workers)
        for path, found in zip(files, tqdm(images, title, len(files), delay=1, disable=None), strict=True):
            if isinstance(found, ValueError):
                if unreadable is None:
                    raise found
                unreadable[path] = str(found)
                continue
            array, top = found
            if top is not None:
                brightest[path] = top
            if i == 0:
                first = path
                shape = array.shape
                out = np.empty(_with_axis((len(files), *shape[:2]), axis, array.shape[2]), np.uint8)
            if array.shape[:2] != shape[:2]:
                raise ValueError(
                    f"expected images of one size, got {shape[1]} x {shape[0]} pixels in "
                    f"{str(first)!r} and {array.shape[1]} x {array.shape[0]} in {str(path)!r}; pass "
                    "size=64 (for a detector, image_size=64) to resize them all"
                )
            if array.shape[2] > out.shape[axis]:  # the first file with colour: all before it were grey
                grey, out = out, np.empty(_with_axis((len(files), *shape[:2]), axis, 3), np.uint8)
                out[:i] = grey[:i]  # only what is read already: the rest of `out` takes no memory yet
                del grey
            out[i] = np.moveaxis(array, 2, axis - 1)
            i += 1
    if i == 0:
        why = why_unreadable(first, (unreadable or {})[first])
        raise ValueError(
            f"expected image files that can be read, got {len(files)} that cannot, such as {str(first)!r}: "
            f"{why}; replace them"
        )
    _warn_if_dark(brightest)
    out = out[:i]
    return out if channels_first or out.shape[3] == 3 else out[..., 0]


def resized(image: Image.Image, size: int | None, squaring: Squaring = "squeeze") -> Image.Image:
    """A Pillow image at `size` x `size` pixels, bilinear and antialiased; None leaves it as it is."""
    if size is None:
        return image
    (width, height), box = image.size, None
    if squaring == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
    elif squaring == "pad" and width != height:
        longer = max(width, height)
        around = [((longer - n) // 2, longer - n - (longer - n) // 2) for n in (height, width)]
        pixels = np.asarray(image)
        image = Image.fromarray(np.pad(pixels, around + [(0, 0)] * (pixels.ndim - 2), mode="edge"))
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


def open_upright(path: str | Path) -> Image.Image:
    """A file as a Pillow image in grey or RGB, 8 bits, upright, in its own size. Raises as `read_images`."""
    return _to_bytes(open_file(Path(path)))


def reason(error: Exception) -> str:
    """The first sentence of another library's error message, to be quoted in brackets in one of ours."""
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".:") or type(error).__name__


def why_unreadable(path: Path, sentence: str) -> str:
    """The part of a refusal of a file that says why, without the path and the advice."""
    why = sentence.partition(";")[0]
    return why.partition(", which ")[2] or why.removesuffix(f" in {str(path)!r}")


# --- one file -------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    """What a file holds."""

    path: Path | Image.Image
    image: Image.Image  # loaded, upright
    bits: int  # of one channel of a pixel in the file: 8, 12 or 16; Pillow may have made it 8
    lossy: bool  # whether the file's format blurs values


def read_image(
    path: Path | Image.Image, size: int | None, channels: int | None, squaring: Squaring
) -> tuple[np.ndarray, int | None]:
    """One file or Pillow image, upright, converted to `channels`, then resized: (h, w, 1) or (h, w, 3) uint8.

    And the highest value in it before it was resized, in [0, 255], if the file has 16 bits; else None.
    """
    opened = open_file(path)
    image = _to_bytes(opened)
    brightest = int(np.asarray(image).max()) if opened.bits == 16 else None
    if channels is not None:
        image = _converted(image, "L" if channels == 1 else "RGB")
    array = np.asarray(resized(image, size, squaring))
    return array.reshape(*array.shape[:2], -1), brightest


def open_file(path: Path | Image.Image) -> Opened:
    """A file, or a Pillow image, that holds one picture; ValueError with one sentence for all others."""
    try:
        with nullcontext(path) if isinstance(path, Image.Image) else Image.open(path) as image:
            pages = _go_to_the_only_page(image)
            if isinstance(image, TiffImageFile):
                # Pillow would map the file into memory and, where it is to be turned by 90 degrees, mistake
                # its width for its height. Without a name it reads the file.
                image.filename = ""
            if pages == 1:
                tile = getattr(image, "tile", None)  # images that come from no file have none
                args = str(tile[0][3]) if tile and image.format in ("PNG", "TIFF") else ""
                bits = 16 if ";16" in args else 12 if ";12" in args else 8
                image.load()
                return Opened(path, _upright(image), bits, image.format in ("JPEG", "MPO", "WEBP"))
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise ValueError(
            f"expected an image file, got {_named(path)}, which cannot be read ({reason(error)}); replace or "
            "remove it"
        ) from error
    raise ValueError(
        f"expected one image in each file, got {pages} in {_named(path)}; save every page or frame as a file "
        "of its own"
    )


def _named(path: Path | Image.Image) -> str:
    """How messages call a file or an image."""
    return "a Pillow image" if isinstance(path, Image.Image) else repr(str(path))


def _go_to_the_only_page(image: Image.Image) -> int:
    """How many images a file holds; if one, it is the current one afterwards.

    Smaller copies and masks of transparency do not count. Nor do the further pictures in a JPEG of a phone:
    previews, depths.
    """
    pages = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if pages == 1 or not isinstance(image, TiffImageFile):
        return pages
    full = []
    for page in range(pages):
        image.seek(page)
        kind, old_kind = image.tag_v2.get(254, 0), image.tag_v2.get(255)  # NewSubfileType, SubfileType
        if not kind & 0b101 and old_kind != 2:
            full.append(page)
    if len(full) == 1:
        image.seek(full[0])
        return 1
    return len(full) or pages


#: Orientation in EXIF data -> what to do to show the image upright; ImageOps.exif_transpose has the same.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """A loaded image, turned as its EXIF data say. (Pillow has turned those in TIFF files already.)

    Not by ImageOps.exif_transpose: it writes all tags anew, and fails where one of them is damaged.
    """
    method = UPRIGHT.get(orientation_of(image))
    return image if method is None else image.transpose(method)


def orientation_of(image: Image.Image) -> int:
    """The orientation in EXIF data, from 1 to 8; 1 if there is none that can be read."""
    with suppress(Exception):  # pixels are read whatever their description is like
        image.getexif()
    with suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))  # from what was read until then
    return 1


def _to_bytes(opened: Opened) -> Image.Image:
    """The pixels as grey or RGB with 8 bits. Alpha is dropped."""
    image = opened.image
    if image.mode in ("I", "F"):
        raise ValueError(
            f"expected 8 or 16 bits, got 32-bit pixels without a known range in {_named(opened.path)}; "
            "save them with 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):  # Pillow's own conversion would clip it, not scale it
        white = 4095 if opened.bits == 12 else 65535
        grey = np.asarray(image).astype(np.float32) / (white / 255)
        return Image.fromarray(grey.round().astype(np.uint8))
    return _converted(image, "L" if image.mode in ("1", "L", "LA") else "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _warn_if_dark(brightest: dict[Path, int]) -> None:
    """Warn if 16-bit files, given with their highest values in [0, 255], use a quarter of the range or less.

    One such file may be a dark image, but that all are means that a camera of 10, 12 or 14 bits has filled
    the lower bits, and few grey levels remain of 256.
    """
    if brightest and max(brightest.values()) <= 64:
        path, top = max(brightest.items(), key=lambda item: item[1])
        warnings.warn(
            f"expected 16-bit images that use the range up to 65535, got values of which {top + 1} of 256 "
            f"grey levels remain, even in {str(path)!r}, the brightest; if a camera gave 10, 12 or 14 bits, "
            "scale them up and save them anew",
            stacklevel=3,
        )


Item = TypeVar("Item")
Result = TypeVar("Result")


def _in_order(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """As `pool.map`, but with at most `ahead` results at a time, waiting or in the making."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _with_axis(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    """The shape with an axis of this length inserted."""
    return (*shape[:axis], length, *shape[axis:])
