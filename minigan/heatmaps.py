"""Heat maps over photographs: where an image is anomalous, by methods with an `anomaly_map`. No torch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minigan.checks import require

#: Heat maps that are in memory at once.
AT_ONCE = 64


def map_files(detector: Any, names: Sequence[str], folder: str | None) -> list[Path]:
    """Where the heat map of each image goes; no folder, no maps. Checked before a training.

    Raises:
        ValueError: the method has no heat maps, or `folder` is a file.
    """
    if folder is None:
        return []
    require(
        hasattr(detector, "anomaly_map"),
        f"expected a method with heat maps, got {type(detector).__name__}, which has none; leave --heatmaps "
        "away, or choose one that says where an image is anomalous",
    )
    require(
        not os.path.isfile(folder),
        f"expected --heatmaps to be a folder, got {folder!r}, which is a file; pass the path of a folder",
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    flat = [name.replace("/", "_") for name in names]
    if len(set(flat)) < len(flat):  # such as a/b.png and a_b.png: one must not replace the other
        flat = [f"{i:04}_{name}" for i, name in enumerate(flat)]
    return [Path(folder) / f"{name}.png" for name in flat]


def draw_maps(detector: Any, images: np.ndarray, files: Sequence[Path], maps: Sequence[Path]) -> None:
    """Save each photograph with its heat map over it; all maps of a call have one scale of colours."""
    heat: Callable[[Any], np.ndarray] = detector.anomaly_map
    few = slice(0, None, max(1, len(images) // AT_ONCE))
    limits = limits_of(heat(images[few]))
    parts = (heat(images[i : i + AT_ONCE]) for i in range(0, len(images), AT_ONCE))
    for value, file, path in zip(itertools.chain.from_iterable(parts), files, maps, strict=True):
        overlay(file, value, limits).save(path)


def limits_of(heat: np.ndarray) -> tuple[float, float]:
    """The values of heat maps, (n, h, w), that have no colour and the full one."""
    low, high = np.quantile(heat, [0.5, 0.999])
    return float(low), float(high)


def overlay(file: Path, heat: np.ndarray, limits: tuple[float, float]) -> Image.Image:
    """The photograph in a file, in its own size and in RGB, with its heat map (h, w) over it."""
    from minigan.image_files import open_upright

    return blend(open_upright(file), heat, limits)


def blend(image: Image.Image, heat: np.ndarray, limits: tuple[float, float]) -> Image.Image:
    """An image in RGB with its heat map (h, w) over it, enlarged to its size; `limits` as of `limits_of`."""
    import matplotlib

    photograph = image.convert("RGB")
    low, high = limits
    strength = np.clip((heat - low) / max(high - low, 1e-12), 0, 1)
    colours = matplotlib.colormaps["inferno"](strength, bytes=True)
    colours[..., 3] = (200 * strength).astype(np.uint8)  # nothing covers what is normal
    layer = Image.fromarray(colours).resize(photograph.size, Image.Resampling.BILINEAR)
    photograph.paste(layer, mask=layer)
    return photograph
