"""Images as tensors: arrays, tensors and folders of image files are checked and brought into one form.

Accepted everywhere in minigan:

* numpy arrays or torch tensors of shape (n, h, w), (n, h, w, c) or (n, c, h, w), with c = 1 or 3;
  `uint8` in [0, 255], or floating point in [-1, 1];
* the path of a folder with image files (read in sorted order, sub-folders included; see `image_files`);
* (n, d) arrays of floating point feature vectors, for the methods that take vectors.

Images stay `uint8` in memory, a quarter of what floats would need; `to_float` turns one batch at a time
into floats on the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigan.checks import require
from minigan.image_files import find_images, read_images
from minigan.image_files import folder_classes as folder_classes  # part of this module's public face

#: The kinds of `augment`.
Augmentation = Literal["hflip", "vflip", "rotate"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)


def as_tensor(images: object, *, size: int | None = None, channels: int | None = None) -> Tensor:
    """Bring images or vectors into the one form that the library works on.

    Args:
        images: arrays or tensors (n, h, w), (n, h, w, c) or (n, c, h, w), c = 1 or 3, uint8 in [0, 255] or
            float in [-1, 1]; the path of a folder of image files; or (n, d) vectors of floats.
        size: if given, every image is resized to size x size pixels (bilinear, antialiased; a
            non-square image is squeezed, not cropped): arrays by `resize`, files by `image_files`.
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
    empty = x.ndim == 0 or len(x) == 0
    require(not empty, f"expected at least one image, got an empty set of shape {tuple(x.shape)}")
    require(0 not in x.shape, f"expected images with pixels, got shape {tuple(x.shape)}")
    if x.ndim == 2:
        return _check_values(x, vectors=True)
    if x.ndim == 3:
        x = x[:, None]  # (n, h, w) -> (n, 1, h, w)
    elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        x = x.permute(0, 3, 1, 2).contiguous()  # (n, h, w, c) -> (n, c, h, w)
    elif x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            "expected images of shape (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3 channels, "
            f"got {tuple(x.shape)}; convert them to grey or RGB first"
        )
    x = _check_values(x, vectors=False)
    return x if size is None else resize(x, size)


def _check_values(x: Tensor, *, vectors: bool) -> Tensor:
    """Refuse NaN and values outside the range that the output of a generator can reach."""
    if not x.is_floating_point():
        require(
            not vectors,
            f"expected floating point numbers in an (n, d) array of vectors, got {x.dtype}; pass a single "
            "image as image[None]",
        )
        require(
            x.dtype == torch.uint8,
            f"expected integer images to be uint8 in [0, 255], got {x.dtype}; scale them to 0..255, then use "
            ".astype('uint8')",
        )
        return x
    x = x.float()
    finite = bool(torch.isfinite(x).all())
    require(finite, "expected finite numbers, got NaN or infinite values; remove or repair these items first")
    if vectors:
        return x
    low, high = x.min().item(), x.max().item()
    require(
        low >= -1 and high <= 1,
        f"expected float images in [-1, 1], got values from {low:g} to {high:g}; pass uint8 images, or "
        "x / 127.5 - 1 for values in [0, 255]",
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
    """Resize by torch, bilinear and antialiased: (n, c, h, w) -> (n, c, size, size), the same data type."""
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
    """One batch as float32 on the device; uint8 values x in [0, 255] become x / 127.5 - 1 in [-1, 1]."""
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
            raise ValueError(f"expected augmentations out of {', '.join(AUGMENTATIONS)}, got {kind!r}")
    return x


def read_folder(folder: str | Path, *, size: int | None = None, channels: int | None = None) -> Tensor:
    """Read all images of a folder: (n, c, h, w) uint8, in the order of `image_files.find_images`.

    Without `channels`, the set is grey (c = 1) if every file is grey, else RGB (c = 3). A `size` resizes as
    every reading of files in minigan does, see `image_files`.

    Raises:
        FileNotFoundError: no such folder, or no image file in it.
        ValueError: a file cannot be read, or the images differ in size and no `size` is given.
    """
    x = torch.from_numpy(read_images(find_images(folder), size, channels))
    if x.ndim == 3:
        return x[:, None]  # (n, h, w) -> (n, 1, h, w)
    return x.permute(0, 3, 1, 2).contiguous()  # (n, h, w, 3) -> (n, 3, h, w)
