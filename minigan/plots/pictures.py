"""Many images as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from minigan.checks import require
from minigan.images import as_tensor
from minigan.plots.style import ANOMALOUS, NORMAL


def image_grid(
    images: object,
    columns: int | None = None,
    scale: int | None = None,
    titles: Sequence[str] | None = None,
    borders: Sequence[int | str | None] | np.ndarray | None = None,
    pad: int = 6,
) -> Image.Image:
    """Image grid: many images as one picture, row by row, enlarged without smoothing.

    As a PNG it is far smaller than a matplotlib figure with axes around every image.

    Args:
        images: any form that `images.as_tensor` takes, for instance (n, h, w) uint8.
        columns: images in a row; at most ten when not given.
        scale: screen pixels per image pixel; when not given, images become about 64 pixels wide.
        titles: a line of text above each row.
        borders: per image a label (0 normal, 1 anomalous), a colour, or None for no border.
        pad: pixels between images; a border fills half of them.
    """
    x = as_tensor(images)
    require(x.ndim == 4, f"expected images, got shape {tuple(x.shape)}; pass a single one as x[None]")
    if x.is_floating_point():
        x = ((x + 1) * 127.5).round().to(torch.uint8)
    pixels = x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    n, height, width, _ = pixels.shape
    columns = columns or min(n, 10)
    rows = math.ceil(n / columns)
    if titles is not None:
        require(len(titles) == rows, f"expected a title for each of {rows} rows, got {len(titles)}")
    if borders is not None:
        require(len(borders) == n, f"expected a border for each of {n} images, got {len(borders)}")

    scale = scale or max(1, round(64 / width))
    height, width = height * scale, width * scale
    font_size = max(14, columns * (width + pad) // 36)  # readable on a phone, too
    font = ImageFont.load_default(font_size)
    line = 0 if titles is None else math.ceil(1.5 * font_size)
    step = height + pad + line
    sheet = Image.new("RGB", (columns * (width + pad) + pad, rows * step + pad), "white")
    draw = ImageDraw.Draw(sheet)
    for row, title in enumerate([] if titles is None else titles):
        draw.text((pad, row * step + pad), title, fill="#222222", font=font)
    for i, image in enumerate(pixels):
        left, top = pad + i % columns * (width + pad), pad + i // columns * step + line
        border = None if borders is None else borders[i]
        if border is not None:
            color = border if isinstance(border, str) else {0: NORMAL, 1: ANOMALOUS}[int(border)]
            edge, right, bottom = pad // 2, left + width - 1, top + height - 1
            draw.rectangle((left - edge, top - edge, right + edge, bottom + edge), color)
            if edge > 2:  # a white line, or the border would vanish around an image of its own colour
                draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), "white")
        enlarged = Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top))
    return sheet
