"""Masks on disk: which pixels of a photograph somebody marked, whatever the tool wrote. Imports no torch.

    marked = read_masks(files, (64, 64))       # (n, 64, 64) bool

What counts as marked, `read_masks` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from minigan.image_files import Opened, open_file


def read_masks(files: Sequence[Path | None], shape: tuple[int, int]) -> np.ndarray:
    """Mask images resized to `shape`: (n, *shape) bool; all False where there is no file (None).

    What the tools that write masks mean by marked:

    * In black and white, what is brighter than half of the range; the smooth edge of a shape and the noise of
      a JPEG do not count.
    * Where the values are numbers or colours of classes, everything but 0, or black; if neither occurs, the
      lowest value, or colour 0, is not marked. They are taken for that when nothing is brighter than half of
      the range (a mask of 0 and 1), in a palette of colours, and where there are at most 16 values, none of
      them just below the highest.
    * Of colours the brightest channel counts. What is transparent is not marked.

    A pixel of the result is marked when any part of it is: a thin scratch must not vanish when images become
    small.
    """
    masks = np.zeros((len(files), *shape), bool)
    for mask, path in zip(masks, files, strict=True):
        if path is not None:
            marked = np.where(_marked(open_file(path)), np.uint8(255), np.uint8(0))
            mask[:] = np.asarray(Image.fromarray(marked).resize(shape[::-1], Image.Resampling.BOX)) > 0
    return masks


def _marked(mask: Opened) -> np.ndarray:
    """Which pixels of a mask are marked, (h, w) bool; the rules are those of `read_masks`."""
    image = mask.image
    if image.mode == "1":
        return np.array(image)
    if image.mode.startswith(("I", "F")):
        return _bright_or_labelled(np.asarray(image), mask.lossy)
    rgba = np.asarray(image.convert("RGBA"))
    alpha, highest, lowest = rgba[..., 3], rgba[..., :3].max(2), rgba[..., :3].min(2)
    if image.mode == "P" and (highest > lowest).any():  # a palette of colours, not of greys
        colours = np.asarray(image)  # their numbers in the palette
        if highest.all() and colours.min() < colours.max():  # none is black: then colour 0 is not marked
            return colours > 0
        return (highest > 0) & (alpha > 0)
    values = (highest.astype(np.uint16) * alpha // 255).astype(np.uint8)
    if not values.any() and alpha.min() < alpha.max():  # painted in black on what is transparent
        values = alpha
    return _bright_or_labelled(values, mask.lossy)


def _bright_or_labelled(values: np.ndarray, lossy: bool) -> np.ndarray:
    """The marked ones of the values of a mask with one channel, (h, w)."""
    white = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else values.max()
    levels = np.unique(values)
    just_below = (levels < levels[-1]) & (levels > levels[-1] - white / 32)
    ground = levels[0] if len(levels) > 1 else 0
    if levels[-1] <= white / 2:
        return values > (levels[-1] / 2 if lossy else ground)  # what was 0 is not so any more in a lossy file
    few = len(levels) <= 16 and not just_below.any()
    return values > (ground if few and not lossy else white / 2)
