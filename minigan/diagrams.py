"""Diagrams of methods: who feeds whom, which networks learn, and where a gradient is cut.

    diagrams.flow(["x -> [E] -> z -> [G] -> $x'$ : like x?", "z -> (G) -> fake -| [D] : real or fake?"])

One row is one path from left to right. `[G]` is a network that learns on this path, `(G)` one that is only
used there, everything else is data; a single letter is set as in a formula. `->` passes the gradient back,
`-|` does not: what stands before it is detached.
What follows a colon is what the end of the path is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextPath

from minigan.checks import require
from minigan.plots import ANOMALOUS, FAKE, GREY, LINES, NORMAL

#: Sizes in points: of the letters, of the length of an arrow, of the height of a row and of its boxes.
LETTERS, ARROW, ROW, BOX = 12, 26, 40, 24
#: Space around the text of a box, and between anything and an arrow.
PADDING, GAP = 8, 4
#: A network's colour by the first letter of its name: what generates, what encodes, what judges.
NETWORKS = {"G": FAKE, "D": ANOMALOUS, "E": LINES[0]}
CUT = "-|"


def flow(rows: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw paths as boxes and arrows, one under the other; the module's docstring explains a row.

    Args:
        rows: such as "x -> [E] -> z : normal?"; words are separated by spaces, and an underscore is a space
            within a word. Formulas between dollar signs have no spaces.
        ax: the axes to draw on; new ones of the right size when not given.

    Raises:
        ValueError: for a row in which data or networks do not alternate with arrows.
    """
    parsed = [_parse(row) for row in rows]
    require(bool(parsed), "expected at least one row to draw, got none")
    widths = [
        sum(_width(word) for word in words) + _text_width(end, "bold") + 4 * GAP for words, end in parsed
    ]
    width, height = max(widths), ROW * len(parsed)
    if ax is None:
        ax = plt.subplots(figsize=(width / 72, height / 72), layout=None)[1]
        ax.set_position((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, width), ylim=(-height, 0), aspect="equal")
    ax.axis("off")
    for i, (words, end) in enumerate(parsed):
        x, y = float(GAP), -ROW * (i + 0.5)
        for word in words:
            _draw(ax, word, x, y)
            x += _width(word)
        if end:
            ax.text(x + 2 * GAP, y, end, fontsize=LETTERS, color=GREY, va="center_baseline", weight="bold")
    return ax


def _parse(row: str) -> tuple[list[str], str]:
    """The words of a row, and what stands after the colon."""
    path, _, end = row.partition(" : ")
    words = path.split()
    arrows = words[1::2]
    fits = len(words) % 2 == 1 and set(arrows) <= {"->", CUT} and not {"->", CUT} & set(words[::2])
    require(
        fits,
        f"expected a row such as 'x -> [E] -> z', with an arrow -> or {CUT} between two words, got {row!r}",
    )
    return words, end.strip()


def _network(word: str) -> bool:
    return word[0] + word[-1] in ("[]", "()") and len(word) > 2


def _plain(word: str) -> str:
    """The text that is drawn for a word."""
    text = word[1:-1] if _network(word) else word
    if "$" in text:
        return text
    return f"${text}$" if len(text) == 1 else text.replace("_", " ")


def _text_width(text: str, weight: str = "normal") -> float:
    """Width in points; formulas are measured as they are set."""
    font = FontProperties(weight=weight)
    width = TextPath((0, 0), text, size=LETTERS, prop=font).get_extents().width if text else 0.0
    return 1.03 * width  # on a screen, letters are a little wider


def _width(word: str) -> float:
    if word in ("->", CUT):
        return ARROW
    return _text_width(_plain(word)) + 2 * (PADDING if _network(word) else GAP)


def _draw(ax: Axes, word: str, x: float, y: float) -> None:
    """One word, its left end at x."""
    width, text = _width(word), _plain(word)
    if word in ("->", CUT):
        style: dict[str, Any] = {"arrowstyle": "-|>", "color": GREY, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x + width, y), (x, y), arrowprops=style)
        if word == CUT:  # a stroke across the arrow: no gradient comes back this way
            middle = x + width / 2 - 2
            ax.plot([middle, middle], [y - 7, y + 7], color="black", lw=2.2, solid_capstyle="butt")
        return
    color = NORMAL if text == "$x$" else GREY
    if _network(word):
        learns = word[0] == "["
        color = NETWORKS.get(text.strip("$")[0], LINES[1]) if learns else GREY
        box = FancyBboxPatch(
            (x + 2, y - BOX / 2),
            width - 4,
            BOX,
            boxstyle="round,pad=0,rounding_size=5",
            facecolor="white",
            edgecolor=color,
            linewidth=2.0 if learns else 1.4,
            linestyle="solid" if learns else (0, (3, 2)),
        )
        ax.add_patch(box)
    font: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": LETTERS, "color": color}
    ax.text(x + width / 2, y, text, **font)
