"""Flip books: interactive figures with sliders, as plain HTML that needs neither a kernel nor a network.

`minigan.plots.flip_book` is the function of this module. The page holds every picture from the start, and a
slider only chooses which one is shown. That works in JupyterLab, in the published book and in a file on disk.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path
from string import Template

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from minigan.checks import require


def figure_png(figure: Figure | Image.Image, colors: int = 64, dpi: int = 80) -> bytes:
    """A figure or a picture as a small PNG: a palette of `colors` colours and no metadata."""
    if not isinstance(figure, Figure | Image.Image):
        kind = type(figure).__name__
        raise TypeError(
            f"expected a matplotlib figure or a PIL image as a frame, got {kind}; return one from frames"
        )
    buffer = io.BytesIO()
    if isinstance(figure, Figure):
        figure.savefig(buffer, dpi=dpi, facecolor="white")
        figure = Image.open(buffer)
    small = figure.convert("RGB").quantize(colors, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class FlipBook:
    """Pictures with sliders that choose among them, as HTML; a notebook shows it as a cell's last value."""

    html: str
    frames: int

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"FlipBook({self.frames} frames, {len(self.html) / 1e3:.0f} KB)"

    def save(self, path: str | Path) -> None:
        """Write a page that opens in any browser."""
        Path(path).write_text(_PAGE.substitute(book=self.html), encoding="utf-8")


def flip_book(
    frames: Callable | Mapping | Sequence,
    sliders: Sequence[tuple[str, Sequence]],
    caption: str = "",
    alt: Callable[..., str] | Sequence[str] | None = None,
    *,
    start: Sequence[int] | None = None,
    colors: int = 64,
    dpi: int = 80,
    seconds: float = 0.6,
    limit: float = 3.0,
) -> FlipBook:
    """Interactive figure: a picture for every combination of the sliders' values, as HTML.

    It needs no kernel and no network. With one slider there is also a button that plays the pictures in
    order; nothing moves until it is pressed.

    Args:
        frames: figures (closed once drawn) or PIL images, all of one size: a function of the
            sliders' positions, `frames(2, 0)`; a dict, `frames[2, 0]`; or lists, `frames[2][0]`.
        sliders: name and values of each; the values are shown as text.
        caption: a sentence or two below the sliders.
        alt: a description of each picture: a function of the sliders' values, or a list in which the last
            slider changes fastest. When not given, the caption and the values.
        start: the positions shown first; all 0 when not given.
        colors: the size of a picture's palette.
        dpi: the resolution of figures.
        seconds: the time between two pictures while the book plays.
        limit: the largest book allowed, in megabytes.

    Raises:
        ValueError: frames are missing, left over, of different sizes, or too large together.
    """
    names = [name for name, _ in sliders]
    texts = [[str(value) for value in values] for _, values in sliders]
    sizes = [len(values) for values in texts]
    require(
        bool(sizes) and min(sizes) >= 2,
        f"expected sliders with at least two values each, got {list(sliders)}",
    )
    positions = list(product(*map(range, sizes)))
    first = positions[0] if start is None else tuple(start)
    require(first in positions, f"expected a start from {positions[0]} to {positions[-1]}, got {first}")
    if callable(alt):
        alts = [alt(*state) for state in product(*(values for _, values in sliders))]
    elif alt is None:
        states = [", ".join(map("{} {}".format, names, state)) for state in product(*texts)]
        alts = [f"{caption} {state}".strip() for state in states]
    else:
        alts = list(alt)
    require(
        len(alts) == len(positions),
        f"expected {len(positions)} alternative texts, one for each frame, got {len(alts)}",
    )
    pictures, (width, height) = _pictures(frames, positions, sizes, colors, dpi)

    data = {"frames": pictures, "alts": alts, "values": texts, "wait": 1000 * seconds}
    # The ids come from the contents: unique on a page, and the same in every run.
    digest = hashlib.sha256(json.dumps([data, names, caption, first]).encode()).hexdigest()
    key = f"flip-book-{digest[:12]}"
    sliders_html = [
        _slider(f"{key}-{i}", name, values, at)
        for i, (name, values, at) in enumerate(zip(names, texts, first, strict=True))
    ]
    shown = positions.index(first)
    html = _BOOK.substitute(
        key=key,
        width=width,
        image=f'width="{width}" height="{height}" alt="{escape(alts[shown])}" '
        f'src="data:image/png;base64,{pictures[shown]}"',
        controls="\n".join(sliders_html),
        button='<button type="button">Play</button>' if len(sizes) == 1 else "",
        caption=f"<figcaption>{escape(caption)}</figcaption>" if caption else "",
        data=json.dumps(data).replace("<", "\\u003c"),  # so that no text can end the script
    )
    require(
        len(html) <= limit * 1e6,
        f"expected a flip book of at most {limit:g} MB, got {len(html) / 1e6:.1f} MB for {len(pictures)} "
        "frames; give the sliders fewer values, or lower dpi or colors",
    )
    return FlipBook(html, len(pictures))


def _pictures(
    frames: Callable | Mapping | Sequence,
    positions: Sequence[tuple[int, ...]],
    sizes: Sequence[int],
    colors: int,
    dpi: int,
) -> tuple[list[str], tuple[int, int]]:
    """Every frame as a PNG in base64, and their common width and height in pixels."""
    pictures = []
    for position in positions:
        frame = _frame(frames, position, sizes)
        pictures.append(figure_png(frame, colors, dpi))
        if isinstance(frame, Figure):
            plt.close(frame)  # or the notebook would show it as well
    shapes = sorted({Image.open(io.BytesIO(picture)).size for picture in pictures})
    require(len(shapes) == 1, f"expected frames of one size, got the sizes {shapes} in pixels")
    return [base64.b64encode(picture).decode() for picture in pictures], shapes[0]


def _slider(key: str, name: str, values: Sequence[str], at: int) -> str:
    """The HTML of one slider with its label and the value that it shows."""
    # JupyterLab leaves the arrow keys to elements with data-lm-suppress-shortcuts.
    return (
        f'<label for="{key}">{escape(name)}</label>\n'
        f'<input type="range" id="{key}" min="0" max="{len(values) - 1}" value="{at}" '
        f'aria-valuetext="{escape(values[at])}" autocomplete="off" data-lm-suppress-shortcuts>\n'
        f'<output for="{key}" aria-live="off" style="min-width: {max(map(len, values))}ch">'
        f"{escape(values[at])}</output>"
    )


def _frame(
    frames: Callable | Mapping | Sequence, position: tuple[int, ...], sizes: Sequence[int]
) -> Figure | Image.Image:
    """The frame at one position of the sliders."""
    if callable(frames):
        return frames(*position)
    needed = math.prod(sizes) if isinstance(frames, Mapping) else sizes[0]
    given = len(frames) if isinstance(frames, Mapping | Sequence) else type(frames).__name__
    require(given == needed, f"expected {needed} frames for sliders of {list(sizes)} values, got {given}")
    if isinstance(frames, Mapping):
        require(position in frames, f"expected a frame for the positions {position}, got none")
        return frames[position]
    inner = frames[position[0]]
    return _frame(inner, position[1:], sizes[1:]) if len(position) > 1 else inner


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flip book</title>
</head>
<body>
$book</body>
</html>
""")

# JupyterLab can show one output twice. The script then runs again, and each run serves all copies.
_BOOK = Template("""<style>
.flip-book { margin: 1rem auto; }
.flip-book img { display: block; max-width: 100%; height: auto; background: white;
  border-radius: 6px; }
.flip-book figcaption { margin-top: 0.5rem; }
.flip-book-controls { display: grid; grid-template-columns: auto minmax(6rem, 1fr) auto;
  gap: 0 0.75rem; align-items: center; margin: 0.5rem 0; }
.flip-book-controls label { margin: 0; }
.flip-book-controls input { width: 100%; height: 2rem; margin: 0; accent-color: #0072B2; }
.flip-book-controls output { font-weight: bold; font-variant-numeric: tabular-nums; }
.flip-book button { min-width: 5.5rem; padding: 0.3rem 1rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid currentColor; border-radius: 6px; cursor: pointer; }
</style>
<figure class="flip-book $key" style="max-width: max(${width}px, 20rem)">
<img $image>
<div class="flip-book-controls">
$controls
</div>
$button
$caption
</figure>
<script>
(() => {
  const {frames, alts, values, wait} = $data;
  document.querySelectorAll(".$key").forEach((book, copy) => {
    if (book.dataset.ready) return;
    book.dataset.ready = "yes";
    const all = (tag) => [...book.querySelectorAll(tag)];
    const [picture, button] = [book.querySelector("img"), book.querySelector("button")];
    const [labels, inputs, outputs] = [all("label"), all("input"), all("output")];
    const show = () => {
      let frame = 0;
      inputs.forEach((input, i) => {
        const at = input.valueAsNumber;
        frame = frame * values[i].length + at;
        outputs[i].textContent = values[i][at];
        input.setAttribute("aria-valuetext", values[i][at]);
      });
      picture.src = "data:image/png;base64," + frames[frame];
      picture.alt = alts[frame];
    };
    inputs.forEach((input, i) => {
      if (copy) labels[i].htmlFor = input.id += "-copy-" + copy;
      input.addEventListener("input", show);
    });
    show();
    if (!button) return;

    const [slider] = inputs;
    let timer = 0;
    const play = (on) => {
      clearInterval(timer);
      timer = on ? setInterval(step, wait) : 0;
      button.textContent = on ? "Pause" : "Play";
    };
    const step = () => {
      slider.stepUp();
      show();
      if (slider.value === slider.max) play(false);
    };
    slider.addEventListener("input", () => play(false));
    button.addEventListener("click", () => {
      if (slider.value === slider.max) slider.value = 0;
      show();
      play(!timer);
    });
  });
})();
</script>
""")
