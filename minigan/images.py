"""Images as tensors: arrays, tensors, image files and Pillow images are checked and brought into one form.

Accepted everywhere in minigan:

* numpy arrays or torch tensors of shape (n, h, w), (n, h, w, c) or (n, c, h, w), with c = 1 or 3;
  `uint8` in [0, 255], or floating point in [-1, 1];
* the same from a file that is mapped into memory, `np.load(file, mmap_mode="r")`: uint8 and float32 are read
  batch by batch and never copied whole, so a set may be larger than the memory;
* the path of a folder with image files (read in sorted order, sub-folders included; see `image_files`), that
  of one image file, or a list of such files;
* a Pillow image or a list of them, which have the pixels that their files would have;
* (n, d) arrays of floating point feature vectors, or a DataFrame, for the methods that take vectors;
* lists of images or of vectors, or the same as nested lists of numbers.

Images stay `uint8` in memory, a quarter of what floats would need; `to_float` turns one batch at a time
into floats on the device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from minigan.checks import require
from minigan.image_files import Squaring, find_images, read_image, read_images
from minigan.image_files import folder_classes as folder_classes  # part of this module's public face

#: The kinds of `augment`.
Augmentation = Literal["hflip", "vflip", "rotate"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)


def as_tensor(
    images: object, *, size: int | None = None, channels: int | None = None, squaring: Squaring = "squeeze"
) -> Tensor:
    """Bring images or vectors into the one form that the library works on.

    Args:
        images: arrays or tensors (n, h, w), (n, h, w, c) or (n, c, h, w), c = 1 or 3, uint8 in [0, 255] or
            float in [-1, 1]; the path of a folder of image files, or of one file; a Pillow image; (n, d)
            vectors of floats; a DataFrame whose rows are vectors; a list of images, of files or of vectors;
            or nested lists of numbers, which are vectors (n, d), or images of whole numbers in [0, 255] or
            of floats in [-1, 1]. Floats that rounding has put beyond [-1, 1], by 1e-5 at most, become -1 or
            1.
        size: if given, every image is resized to size x size pixels (bilinear, antialiased): arrays by
            `resize`, files by `image_files`.
        channels: if given (1 or 3), files and Pillow images are converted to this many channels. Arrays are
            never converted: their channel count says something about where they come from.
        squaring: what becomes of images that are not square: "squeeze", "crop" or "pad".

    Returns:
        (n, c, h, w) tensor, uint8 or float32, or an (n, d) float32 tensor of vectors; on the CPU.

    Raises:
        FileNotFoundError: the folder or a file does not exist, or the folder holds no image file.
        TypeError: nothing of the above, or no numbers in it, or sparse or masked ones.
        ValueError: empty, wrong shape, channels, data type or value range; NaN; unreadable file.
    """
    if isinstance(images, str | Path):
        if not Path(images).is_file():
            return read_folder(images, size=size, channels=channels, squaring=squaring)
        images = [images]
    elif isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, list | tuple) and len(images) and isinstance(images[0], str | Path | Image.Image):
        return _from_pictures(images, size, channels, squaring)
    if isinstance(images, pd.DataFrame):
        images = _from_frame(images)
    elif isinstance(images, list | tuple):
        images = _from_list(images)
    mapped = False
    if isinstance(images, np.ndarray):
        # torch has no negative strides and no byte-swapped numbers; this copies only where it must.
        native = images.dtype.newbyteorder("=")
        if native.kind not in "buif" or native.itemsize > 8:  # torch has no long doubles either
            raise TypeError(
                f"expected numbers, got an array of {images.dtype}; pass images.astype(float) if these are "
                "numbers, or encode them as numbers"
            )
        if np.ma.is_masked(images):
            raise TypeError(
                "expected an array without missing values, got one in which some are masked; pass "
                "images.filled(value), or leave out the items with missing values"
            )
        # A file that is mapped into memory may be larger than the memory, and is mostly opened for reading.
        mapped = isinstance(images, np.memmap)
        array = np.require(images, native, requirements=["C"] if mapped else ["C", "W"])
        # An axis of length 1 may still run backwards: numpy calls that contiguous, torch does not.
        array = array.copy() if min(array.strides, default=0) < 0 else array
        with warnings.catch_warnings():  # nothing here writes to images
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            x = torch.from_numpy(array)
    elif isinstance(images, Tensor):
        if images.layout != torch.strided or images.is_complex():
            raise TypeError(
                f"expected a plain tensor of real numbers, got {images.layout}, {images.dtype}; pass "
                "images.to_dense() where it is sparse, and images.real where it is complex"
            )
        x = images.detach().cpu().contiguous()  # one layout, or convolutions would round differently
    else:
        sparse = hasattr(images, "toarray")  # of scipy
        raise TypeError(
            "expected a numpy array, a torch tensor, a DataFrame, a list of numbers or the path of a folder, "
            f"got {type(images).__name__}{', which is sparse' if sparse else ''}; pass "
            + ("images.toarray()" if sparse else "what it holds as a numpy array")
        )
    shape, empty = tuple(x.shape), x.ndim == 0 or len(x) == 0
    require(not empty, f"expected at least one image or vector, got an empty set of shape {shape}; pass some")
    require(
        0 not in shape,
        f"expected images with pixels, or vectors with numbers, got shape {shape}; pass others",
    )
    require(
        x.ndim > 1,
        f"expected images of shape (n, h, w) or vectors of shape (n, d), got {shape}; pass a single vector "
        "as vector[None], and one number for each item as numbers[:, None]",
    )
    if x.ndim == 2:
        return _check_values(x, vectors=True)
    if x.ndim == 3:
        require(
            x.shape[2] not in (1, 3) or x.shape[1] <= 3,
            "expected images of shape (n, h, w), (n, h, w, c) or (n, c, h, w), got "
            f"{tuple(x.shape)}; pass a single image as image[None], and images {x.shape[2]} pixels wide as "
            "images[..., None]",
        )
        x = x[:, None]  # (n, h, w) -> (n, 1, h, w)
    elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2)  # (n, h, w, c) -> (n, c, h, w)
        x = x if mapped else x.contiguous()  # `to_float` makes the batches of a mapped file so
    elif x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            "expected images of shape (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3 channels, "
            f"got {tuple(x.shape)}; convert them to grey or RGB first"
        )
    x = _check_values(x, vectors=False)
    return x if size is None else resize(x, size, squaring)


def _from_frame(frame: pd.DataFrame) -> np.ndarray:
    """The rows of a DataFrame as vectors, (n, d) float64; missing values become NaN."""
    for name, dtype in frame.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_complex_dtype(dtype):
            raise TypeError(
                f"expected columns of numbers, got {name!r} of type {dtype}; leave it out, or encode it as "
                "numbers"
            )
    return frame.to_numpy(np.float64, na_value=np.nan)


def _from_list(items: list | tuple) -> np.ndarray:
    """Nested lists of numbers, or a list of arrays or tensors, as an array.

    A number of Python has no uint8: whole numbers are floats in vectors, (n, d), and bytes in images.
    """
    first: object = items
    while isinstance(first, list | tuple) and len(first):
        first = first[0]
    if not isinstance(first, int | float | np.generic | np.ndarray | Tensor | list | tuple):
        raise TypeError(
            f"expected lists of numbers, arrays or tensors, got one of {type(first).__name__}; pass a folder "
            "of files by its path, and other things as a numpy array"
        )
    plain = [item.detach().cpu().numpy() if isinstance(item, Tensor) else item for item in items]
    try:
        array = np.asarray(plain)
    except ValueError as error:  # numpy's word for it is "inhomogeneous"
        raise ValueError(
            "expected lists of one length, or images of one size, got some that differ; resize the images to "
            "one size, or fill up the vectors"
        ) from error
    if isinstance(first, int) and array.dtype.kind == "i":
        if array.ndim == 2:
            return array.astype(np.float64)
        if array.min() >= 0 and array.max() <= 255:
            return array.astype(np.uint8)
    return array


def _from_pictures(
    items: Sequence[object], size: int | None, channels: int | None, squaring: Squaring
) -> Tensor:
    """Image files and Pillow images, (n, c, h, w) uint8; without `channels`, c = 1 if all are grey."""
    pictures = [Path(item) if isinstance(item, str) else item for item in items]
    for item in pictures:
        if not isinstance(item, Path | Image.Image):
            raise TypeError(
                f"expected image files or Pillow images, got one of {type(item).__name__} among them; pass "
                "arrays in a list of their own"
            )
        if isinstance(item, Path) and not item.is_file():
            raise FileNotFoundError(
                f"expected an image file, got {str(item)!r}, which is not there; pass paths of files, and a "
                "folder by itself"
            )
    files = [item for item in pictures if isinstance(item, Path)]
    if len(files) == len(pictures):
        return torch.from_numpy(read_images(files, size, channels, channels_first=True, squaring=squaring))
    read = [
        read_image(item, size, channels, squaring)[0]  # (h, w, 1) or (h, w, 3)
        for item in pictures
        if isinstance(item, Path | Image.Image)
    ]
    most = max(array.shape[2] for array in read)
    alike = _from_list([array.repeat(most // array.shape[2], axis=2) for array in read])
    return torch.from_numpy(np.moveaxis(alike, 3, 1).copy())


def _check_values(x: Tensor, *, vectors: bool) -> Tensor:
    """Refuse NaN and values outside the range that the output of a generator can reach.

    What lies outside by no more than rounding is put into the range.
    """
    if not x.is_floating_point():
        require(
            not vectors,
            f"expected floating point numbers in an (n, d) array of vectors, got {x.dtype}; pass vectors as "
            "vectors.astype(float), and a single image as image[None]",
        )
        require(
            x.dtype == torch.uint8,
            f"expected integer images to be uint8 in [0, 255], got {x.dtype}; scale them to 0..255, then use "
            ".astype('uint8')",
        )
        return x
    rounding = max(1e-5, 2 * torch.finfo(x.dtype).eps)  # half precision rounds more coarsely
    x = x.float()
    low, high = x.min().item(), x.max().item()  # both NaN if one value is; and without a copy of all values
    finite = math.isfinite(low) and math.isfinite(high)
    require(finite, "expected finite numbers, got NaN or infinite values; remove or repair these items first")
    if vectors:
        return x
    require(
        low >= -1 - rounding and high <= 1 + rounding,
        f"expected float images in [-1, 1], got values from {low:g} to {high:g}; pass uint8 images, or "
        "x / 127.5 - 1 for values in [0, 255]",
    )
    return x.clamp(-1, 1) if low < -1 or high > 1 else x


def resize(x: Tensor, size: int, squaring: Squaring = "squeeze") -> Tensor:
    """Resize by torch, bilinear and antialiased: (n, c, h, w) -> (n, c, size, size), the same data type.

    `squaring` says what becomes of images that are not square, as in `image_files.resized`.
    """
    if tuple(x.shape[2:]) == (size, size):
        return x
    height, width = x.shape[2:]
    if squaring == "crop":
        side = min(height, width)
        x = x[:, :, (height - side) // 2 :, (width - side) // 2 :][:, :, :side, :side]
    elif squaring == "pad":
        more_y, more_x = max(0, width - height), max(0, height - width)
        rows = torch.arange(height + more_y).sub(more_y // 2).clamp(0, height - 1)
        columns = torch.arange(width + more_x).sub(more_x // 2).clamp(0, width - 1)
        x = x[:, :, rows][:, :, :, columns]  # beyond the border, its pixels again
    # By the hundred: the float copy of a whole data set need not fit into memory.
    parts = [
        F.interpolate(part.float(), (size, size), mode="bilinear", antialias=True) for part in x.split(100)
    ]
    if x.dtype == torch.uint8:
        parts = [part.round().clamp(0, 255).to(torch.uint8) for part in parts]
    else:  # a mean of pixels, but rounding may put it beyond them all
        parts = [part.clamp(x.min(), x.max()) for part in parts]
    return torch.cat(parts)


def to_float(x: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """One batch as float32 on the device; uint8 values x in [0, 255] become x / 127.5 - 1 in [-1, 1]."""
    x = x.to(device, non_blocking=True).contiguous()  # one layout, or convolutions would round differently
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
            raise ValueError(f"expected augmentations out of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return x


def read_folder(
    folder: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    squaring: Squaring = "squeeze",
) -> Tensor:
    """Read all images of a folder: (n, c, h, w) uint8, in the order of `image_files.find_images`.

    Without `channels`, the set is grey (c = 1) if every file is grey, else RGB (c = 3). A `size` resizes as
    every reading of files in minigan does, see `image_files`.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
        ValueError: a file cannot be read, or the images differ in size and no `size` is given.
    """
    files = find_images(folder)
    return torch.from_numpy(read_images(files, size, channels, channels_first=True, squaring=squaring))
