"""Whatever a user calls "images" becomes one tensor, or one clear sentence.

Accepted everywhere in minigan:

* numpy arrays or torch tensors of shape (n, h, w), (n, h, w, c) or (n, c, h, w), with c = 1 or 3;
  `uint8` in [0, 255], or floating point in [-1, 1];
* the path of a folder with image files (read in sorted order, sub-folders included);
* (n, d) arrays of floating point feature vectors, for the methods that take vectors.

Images stay `uint8` in memory, a quarter of what floats would need; `to_float` turns one batch at a time
into floats on the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
AUGMENTATIONS = ("hflip", "vflip", "rotate")


def as_tensor(images: object, *, size: int | None = None, channels: int | None = None) -> Tensor:
    """Bring images or vectors into the one form that the library works on.

    Args:
        images: any of the forms listed at the top of this file.
        size: if given, every image is resized to size x size pixels (bilinear, antialiased; a
            non-square image is squeezed, not cropped).
        channels: if given (1 or 3), files of a folder are converted to this many channels. Arrays are
            never converted: their channel count says something about where they come from.

    Returns:
        (n, c, h, w) tensor, uint8 or float32, or an (n, d) float32 tensor of vectors; on the CPU.

    Raises:
        FileNotFoundError: the folder does not exist or holds no image file.
        TypeError: not an array, a tensor or a path.
        ValueError: empty, wrong shape, channels, data type or value range; NaN; unreadable file.
    """
    if isinstance(images, (str, Path)):
        return read_folder(images, size=size, channels=channels)
    if isinstance(images, np.ndarray):
        # torch has no negative strides and no byte-swapped numbers; this copies only where it must.
        native = images.dtype.newbyteorder("=")
        if native.kind not in "buif" or native.itemsize > 8:  # torch has no long doubles either
            raise TypeError(f"expected numbers, got an array of {images.dtype}")
        array = np.require(images, native, requirements=["C", "W"])
        # An axis of length 1 may still run backwards: numpy calls that contiguous, torch does not.
        x = torch.from_numpy(array.copy() if min(array.strides, default=0) < 0 else array)
    elif isinstance(images, Tensor):
        if images.layout != torch.strided or images.is_complex():
            raise TypeError(f"expected a plain tensor of real numbers, got {images.layout}, {images.dtype}")
        x = images.detach().cpu().contiguous()  # one layout, or convolutions would round differently
    else:
        raise TypeError(
            f"expected a numpy array, a torch tensor or the path of a folder, got {type(images).__name__}"
        )
    if x.shape[:1] == (0,) or x.ndim == 0:
        raise ValueError(f"expected at least one image, got an empty set of shape {tuple(x.shape)}")
    if 0 in x.shape:
        raise ValueError(f"images without pixels: shape {tuple(x.shape)} has an axis of length 0")
    if x.ndim == 2:
        return _check_values(x, vectors=True)
    if x.ndim == 3:
        x = x[:, None]  # (n, h, w) -> (n, 1, h, w)
    elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2).contiguous()  # (n, h, w, c) -> (n, c, h, w)
    elif x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"expected images of shape (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3 channels, "
            f"got {tuple(x.shape)}; convert them to grey or RGB first"
        )
    x = _check_values(x, vectors=False)
    return x if size is None else resize(x, size)


def _check_values(x: Tensor, *, vectors: bool) -> Tensor:
    """Refuse NaN and values outside the range that the output of a generator can reach."""
    if not x.is_floating_point():
        if vectors:
            raise ValueError(
                f"an (n, d) array of vectors must be floating point, got {x.dtype}; "
                "pass a single image as image[None]"
            )
        if x.dtype != torch.uint8:
            raise ValueError(
                f"integer images must be uint8 in [0, 255], got {x.dtype}; "
                "scale them to 0..255, then use .astype('uint8')"
            )
        return x
    x = x.float()
    if not torch.isfinite(x).all():
        raise ValueError("the data contain NaN or infinite values; remove or repair these items first")
    if vectors:
        return x
    low, high = x.min().item(), x.max().item()
    if low < -1 or high > 1:
        raise ValueError(
            f"float images must lie in [-1, 1], got values from {low:g} to {high:g}; "
            "pass uint8 images, or x / 127.5 - 1 for values in [0, 255]"
        )
    return x


def warn_if_unit_range(x: Tensor) -> None:
    """Warn when float training images never go below 0: they were probably meant as [0, 1]."""
    if x.ndim == 4 and x.is_floating_point() and x.min() >= 0:
        warnings.warn(
            "float images are read as [-1, 1], but none of these values is below 0; "
            "if black is 0 and white is 1, pass 2 * x - 1",
            stacklevel=4,
        )


def resize(x: Tensor, size: int) -> Tensor:
    """(n, c, h, w) -> (n, c, size, size), bilinear with antialiasing; keeps the data type."""
    if tuple(x.shape[2:]) == (size, size):
        return x
    # By the hundred: the float copy of a whole data set need not fit into memory.
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True) for part in x.split(100)
    ]
    if x.dtype == torch.uint8:
        parts = [part.round().clamp(0, 255).to(torch.uint8) for part in parts]
    return torch.cat(parts)


def to_float(x: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """One batch, uint8 [0, 255] or float, to float32 on the device; uint8 is mapped to [-1, 1]."""
    x = x.to(device, non_blocking=True)
    return x.float().div_(127.5).sub_(1) if x.dtype == torch.uint8 else x


def augment(x: Tensor, kinds: Sequence[str], generator: torch.Generator) -> Tensor:
    """Vary a batch of float images at random, each image on its own: (n, c, h, w) -> (n, c, h, w).

    Args:
        kinds: any of "hflip", "vflip" (each with probability 1/2) and "rotate" (any angle; the corners
            are filled with the nearest pixel of the border).
        generator: the source of randomness, on the device of x.
    """
    for kind in kinds:
        u = torch.rand(len(x), generator=generator, device=x.device)
        if kind in ("hflip", "vflip"):
            x = torch.where(u.view(-1, 1, 1, 1) < 0.5, x.flip(3 if kind == "hflip" else 2), x)
        elif kind == "rotate":
            cos, sin, zero = (2 * torch.pi * u).cos(), (2 * torch.pi * u).sin(), torch.zeros_like(u)
            theta = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
            grid = F.affine_grid(theta, list(x.shape), align_corners=False)
            x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        else:
            raise ValueError(f"unknown augmentation {kind!r}; choose from {', '.join(AUGMENTATIONS)}")
    return x


def image_files(folder: str | Path) -> list[Path]:
    """The image files below a folder, sorted by path; hidden files are left out.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}; pass the path of a folder of images")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise FileNotFoundError(
            f"the folder {str(folder)!r} holds no image file; known endings are {', '.join(sorted(SUFFIXES))}"
        )
    return files


def folder_classes(folder: str | Path) -> np.ndarray:
    """Which sub-folder each image of `image_files` lies in: (n,) int64, counted from 0 in sorted order.

    For methods that learn from sub-classes of the normal images: `fit(folder, folder_classes(folder))`.

    Raises:
        FileNotFoundError: see `image_files`.
        ValueError: an image lies beside the sub-folders, not in one.
    """
    paths = [path.relative_to(folder) for path in image_files(folder)]
    loose = [path for path in paths if len(path.parts) == 1]
    if loose:
        raise ValueError(
            f"the image {loose[0].name!r} lies in {str(folder)!r} itself and not in a sub-folder; put the "
            "images of each sub-class into a sub-folder of their own"
        )
    return np.unique([path.parts[0] for path in paths], return_inverse=True)[1].astype(np.int64)


def read_folder(folder: str | Path, *, size: int | None = None, channels: int | None = None) -> Tensor:
    """Read all images of a folder: (n, c, h, w) uint8, in the order of `image_files`.

    Without `channels`, the set is grey (c = 1) if every file is grey, else RGB (c = 3).

    Raises:
        FileNotFoundError: see `image_files`.
        ValueError: a file cannot be read, or the images differ in size and no `size` is given.
    """
    files = image_files(folder)
    arrays: list[np.ndarray] = []
    for path in files:
        try:
            with Image.open(path) as image:
                array = _to_array(ImageOps.exif_transpose(image))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"cannot read the image {str(path)!r} ({error}); it may be damaged: replace or remove it"
            ) from error
        if size is None and arrays and array.shape[:2] != arrays[0].shape[:2]:
            (h, w), (h0, w0) = array.shape[:2], arrays[0].shape[:2]
            raise ValueError(
                f"images of different sizes: {files[0].name} is {w0} x {h0} pixels, {path.name} is "
                f"{w} x {h}; pass image_size=64 (or another power of two) to resize them all"
            )
        if size is not None:
            tensor = torch.from_numpy(array).reshape(*array.shape[:2], -1)  # (h, w, c)
            array = resize(tensor.permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).squeeze(2).numpy()
        arrays.append(array)
    if channels is None:
        channels = 3 if any(array.ndim == 3 for array in arrays) else 1
    return torch.stack([_with_channels(array, channels) for array in arrays])


def _to_array(image: Image.Image) -> np.ndarray:
    """A Pillow image as uint8 (h, w), when it is grey, or (h, w, 3). Alpha is dropped."""
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion would clip it, not scale it
        return (np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ValueError("32-bit pixels without a known range, save it with 8 or 16 bits")
    return np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _with_channels(array: np.ndarray, channels: int) -> Tensor:
    """(h, w) or (h, w, 3) uint8 -> (channels, h, w)."""
    if array.ndim == 3 and channels == 1:
        array = np.asarray(Image.fromarray(array).convert("L"))
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], channels, axis=2)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
