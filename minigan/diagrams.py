"""Diagrams of methods: who feeds whom, which networks learn, and where a gradient is cut.

    diagrams.flow(["x -> [E] -> z -> [G] -> $x'$ : like x?", "z -> (G) -> fake -| [D] : real or fake?"])

One row is one path from left to right. `[G]` is a network that learns on this path, `(G)` one that is only
used there, everything else is data; a single letter is set as in a formula, and `[$E_s$,$E_r$]` are two
networks side by side. `->` passes the gradient back, `-|` does not: what stands before it is detached. `-~`
reverses it. What follows a colon is what the end of the path is compared with.

    diagrams.method("ALGAN")

draws the whole of one of the book's five methods, loss by loss. Below each path, the gradient of its loss
runs back from the end to every network that learns from it. Tests hold these to `gradient_flow`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from minigan.checks import require
from minigan.plots import ANOMALOUS, FAKE, GREY, LINES, NORMAL

#: Sizes in points: of the letters, of the length of an arrow, of the height of a row, of its boxes and of a
#: heading.
LETTERS, ARROW, ROW, BOX, HEADING = 12, 20, 42, 24, 28
#: Space around the text of a box, and between anything and an arrow.
PADDING, GAP = 7, 3
#: A network's colour by how its name begins: what generates, what encodes, what judges.
NETWORKS = {"Dec": FAKE, "G": FAKE, "D": ANOMALOUS, "E": LINES[0]}
GRADIENT = LINES[5]
CUT, REVERSED = "-|", "-~"
ARROWS = {"->", CUT, REVERSED}


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
    ax = _axes(max(_row_width(*row) for row in parsed), ROW * len(parsed), ax)
    for i, row in enumerate(parsed):
        _draw_row(ax, *row, y=-ROW * (i + 0.5))
    return ax


# ---------------------------------------------------------------------- whole methods


@dataclass(frozen=True)
class Part:
    """One part of a method's diagram: losses, what they ask for, and the paths of their data."""

    #: Names in the method's `gradient_flow`; none for its score.
    losses: tuple[str, ...]
    says: str
    rows: tuple[str, ...]

    def learning(self) -> set[str]:
        """Names of the networks that learn here."""
        words = [word for row in self.rows for word in _parse(row)[0]]
        return {name for word in words if word[0] == "[" for name in _names(word)}


#: What `method` draws. A solid network is one that this loss trains.
METHODS = {
    "ALGAN": (
        Part(
            ("loss_D",),
            "only x is real",
            (
                "x -> [D]",
                "$z_n$,_$z_a$ -> (G) -> $x'$ -| [D]",
                r"buffer_of_old_fakes -> $\hat{x}$ -| [D]",
            ),
        ),
        Part(("loss_G",), "a fake looks real to D", ("$z_g$ -> [G] -> fake -> (D)",)),
        Part((), "what D says, with its sign turned", ("query -> (D) -> score",)),
    ),
    "AGAD": (
        Part(("L_con",), "the copy is like x", (r"x -> [G] -> $\hat{x}$",)),
        Part(("L_adv",), "the copy looks real to D", (r"x -> [G] -> $\hat{x}$ -> (D)",)),
        Part(
            ("L_lat",),
            "D has the same features for both",
            (r"x -> [G] -> $\hat{x}$ -> (D) -> $\hat{z}$", "x -> (D) -> z"),
        ),
        Part(
            ("L_adcon",),
            "the copy of the copy is unlike it",
            (r"x -> [G] -> $\hat{x}$ -> [G] -> $\hat{x}'$",),
        ),
        Part(
            ("anomalies 1/L_adv", "anomalies 1/L_adcon", "anomalies 1/L_lat"),
            "for known anomalies",
            (r"anomaly -> [G] -> copy -> [G] -> its_copy", "anomaly -> [G] -> copy -> (D)"),
        ),
        Part(("L_d",), "x is real and its copy is not", ("x -> [D]", r"x -> (G) -> $\hat{x}$ -| [D]")),
        Part((), "how unlike is the copy?", (r"query -> (G) -> copy",)),
    ),
    "ADeGAN": (
        Part(("loss_D",), "x is real and fakes are not", ("x -> [D]", "$z_c$,_$z_n$ -> (G) -> fake -| [D]")),
        Part(("loss_G",), "a fake looks real to D", ("$z_c$,_$z_n$ -> [G] -> fake -> (D)",)),
        Part(
            ("L_sl",),
            "E finds pattern and features again",
            (r"$z_c$,_$z_n$ -> [G] -> fake -> [E] -> $\hat{z}_c$,_$\hat{z}_n$",),
        ),
        Part(
            ("L_ip",),
            "a mixture of two has no pattern",
            ("two_$z_c$,_mixed -> [G] -> mixture -> [E] -> pattern",),
        ),
        Part(("L_recon",), "x comes back", (r"x -> [E] -> pattern,_$z_n$ -> [G] -> $\hat{x}$",)),
        Part(
            (),
            "one clear pattern, and a good copy?",
            (r"query -> (E) -> pattern,_$z_n$ -> (G) -> copy",),
        ),
    ),
    "SimultaneousEncoder": (
        Part(("loss_D",), "x is real and fakes are not", ("x -> [D]", "z -> (G) -> fake -| [D]")),
        Part(("loss_G",), "a fake looks real to D", ("z -> [G] -> fake -> (D)",)),
        Part(
            ("loss_E",),
            "the fake comes back",
            (r"z -> [G] -> fake -> [E] -> $\hat{z}$ -> [G] -> fake_again",),
        ),
        Part(
            (),
            "how long is the code, how far the match?",
            (r"query -> (E) -> $\hat{z}$ -> (G) -> closest_match",),
        ),
    ),
    "YGAN": (
        Part(
            ("L_rec",),
            "x comes back",
            (r"x -> [$E_s$,$E_r$] -> $z_s$,_$z_r$ -> [Dec] -> $\hat{x}$",),
        ),
        Part(
            ("L_adv",),
            "Ds has the same features for both",
            (
                r"x -> [$E_s$,$E_r$] -> $z_s$,_$z_r$ -> [Dec] -> $\hat{x}$ -> (Ds) -> $f(\hat{x})$",
                "x -> (Ds) -> $f(x)$",
            ),
        ),
        Part(("L_s",), "C reads the sub-class from one code", ("x -> [$E_s$] -> $z_s$ -> [C] -> sub-class",)),
        Part(
            ("L_r",),
            "C tries it with the other, and E_r prevents it",
            ("x -> [$E_r$] -> $z_r$ -~ [C] -> sub-class",),
        ),
        Part(
            ("L_con",),
            "z_s stays, with z_r of another image",
            (r"x -> [$E_s$,$E_r$] -> $z_s$,_$z_r'$ -> [Dec] -> hybrid -> [$E_s$] -> $\hat{z}_s$",),
        ),
        Part(
            ("L_bce",),
            "x is real and its copy is not",
            ("x -> [Ds]", r"$z_s$,_$z_r$ -> (Dec) -> $\hat{x}$ -| [Ds]"),
        ),
        Part((), "is C certain of a sub-class?", ("query -> ($E_s$) -> $z_s$ -> (C) -> score",)),
    ),
}


def method(name: str) -> Axes:
    """Draw one of the book's methods, loss by loss: where data go, and which networks a gradient reaches.

    Args:
        name: "ALGAN", "AGAD", "ADeGAN", "SimultaneousEncoder" or "YGAN".

    Raises:
        ValueError: for another name.
    """
    parts = _parts(name)
    rows = [[_parse(row) for row in part.rows] for part in parts]
    heights = [HEADING + ROW * len(part.rows) for part in parts]
    key = ["[learns]", "(is_used)", "->", "data", "->", "gradient", CUT, "gradient_is_cut"]
    width = max(_row_width(*row) for part in rows for row in part)
    width = max(width, *(_text_width(f"{_title(p)}:  {p.says}", "bold") + 4 * GAP for p in parts))
    width = max(width, sum(map(_width, key)) + 2 * GAP)
    ax = _axes(width, sum(heights) + ROW, None)
    y = 0.0
    for part, own, height in zip(parts, rows, heights, strict=True):
        font: dict[str, Any] = {"fontsize": LETTERS, "va": "center_baseline"}
        ax.text(GAP, y - HEADING / 2, _title(part), weight="bold", **font)
        ax.text(GAP + _text_width(_title(part), "bold") + 10, y - HEADING / 2, part.says, color=GREY, **font)
        for i, row in enumerate(own):
            _draw_row(ax, *row, y=y - HEADING - ROW * (i + 0.35), gradient=True)
        y -= height
        ax.plot([0, width], [y, y], color="#DDDDDD", lw=1)
    x = float(GAP)
    for i, word in enumerate(key):
        _draw(ax, word, x, y - ROW / 2, GRADIENT if i == 4 else GREY)
        x += _width(word)
    return ax


def describe(name: str) -> str:
    """The diagram of `method` in words, for readers who cannot see it, a sentence for each loss."""
    sentences = [f"{_title(part)}, {part.says}: {_in_words(part)}." for part in _parts(name)]
    return f"Diagram of {name}, loss by loss. " + " ".join(sentences)


def _parts(name: str) -> tuple[Part, ...]:
    require(name in METHODS, f"expected one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def _title(part: Part) -> str:
    return ", ".join(name.removeprefix("anomalies ") for name in part.losses) or "score"


def _in_words(part: Part) -> str:
    paths = []
    for row in part.rows:
        words = [_spoken(word) for word in _parse(row)[0]]
        paths.append(" ".join(words))
    learning = " and ".join(sorted(part.learning()))
    return "; ".join(paths) + (f"; the gradient reaches {learning}" if learning else "")


def _spoken(word: str) -> str:
    if word in ARROWS:
        return {"->": "to", CUT: "to, without a gradient back,", REVERSED: "to, with the gradient reversed,"}[
            word
        ]
    plain = re.sub(r"\\hat\{(\w)\}", r"\1 hat", _plain(word).replace("$", "")).replace("'_", "'s ")
    return re.sub(r"(?<=\w)'(?!s)", " prime", plain)


# ---------------------------------------------------------------------- rows


def _axes(width: float, height: float, ax: Axes | None) -> Axes:
    """Axes whose unit is a point, on a figure of exactly this size in points."""
    if ax is None:
        ax = plt.subplots(figsize=(width / 72, height / 72), layout=None)[1]
        ax.set_position((0.0, 0.0, 1.0, 1.0))
    ax.set(xlim=(0, width), ylim=(-height, 0), aspect="equal")
    ax.axis("off")
    return ax


def _row_width(words: Sequence[str], end: str) -> float:
    return sum(_width(word) for word in words) + _text_width(end, "bold") + 4 * GAP


def _draw_row(ax: Axes, words: Sequence[str], end: str, y: float, gradient: bool = False) -> None:
    """One row at the height y: words, what the end is compared with, and perhaps the gradient below."""
    x = float(GAP)
    learning, turned = [], []  # middles of what the gradient reaches, and of what turns it round
    for word in words:
        middle = x + _width(word) / 2
        learning += [middle] if word[0] == "[" else []
        turned += [middle] if word == REVERSED else []
        _draw(ax, word, x, y)
        x += _width(word)
    if end:
        ax.text(x + 2 * GAP, y, end, fontsize=LETTERS, color=GREY, va="center_baseline", weight="bold")
    if not (gradient and learning):
        return
    below = y - BOX / 2 - 8
    corners = [(x + GAP, y), (x + GAP, below), (learning[0], below)]
    ax.plot(x + GAP, y, "o", markersize=5, color=GRADIENT)  # here is the loss
    ax.add_patch(PathPatch(Path(corners), facecolor="none", edgecolor=GRADIENT, linewidth=1.8))
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": GRADIENT, "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
    for middle in learning:
        ax.annotate("", (middle, y - BOX / 2), (middle, below - 1), arrowprops=style)
    font: dict[str, Any] = {"fontsize": 10, "color": GRADIENT, "ha": "center", "va": "center_baseline"}
    for middle in turned:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(middle, below, "reversed", bbox=box, **font)


def _parse(row: str) -> tuple[list[str], str]:
    """The words of a row, and what stands after the colon."""
    path, _, end = row.partition(" : ")
    words = path.split()
    arrows = words[1::2]
    fits = len(words) % 2 == 1 and set(arrows) <= ARROWS and not ARROWS & set(words[::2])
    require(
        fits,
        f"expected a row such as 'x -> [E] -> z', with an arrow ->, {CUT} or {REVERSED} between two words, "
        f"got {row!r}",
    )
    return words, end.strip()


def _network(word: str) -> bool:
    return word[0] + word[-1] in ("[]", "()") and len(word) > 2


def _names(word: str) -> list[str]:
    """The names of the networks of one box."""
    return word[1:-1].replace("$", "").split(",")


def _plain(word: str) -> str:
    """The text that is drawn for a word."""
    text = word[1:-1].replace(",", ", ") if _network(word) else word
    if len(text) == 1:
        return f"${text}$"
    # Within a formula, an underscore is a subscript.
    return "".join(
        part if i % 2 else part.replace("_", " ") for i, part in enumerate(re.split(r"(\$.*?\$)", text))
    )


def _text_width(text: str, weight: str = "normal") -> float:
    """Width in points; formulas are measured as they are set."""
    font = FontProperties(weight=weight)
    width = TextPath((0, 0), text, size=LETTERS, prop=font).get_extents().width if text else 0.0
    return 1.03 * width  # on a screen, letters are a little wider


def _width(word: str) -> float:
    if word in ARROWS:
        return ARROW
    return _text_width(_plain(word)) + 2 * (PADDING if _network(word) else GAP)


def _draw(ax: Axes, word: str, x: float, y: float, arrow: str = GREY) -> None:
    """One word, its left end at x; `arrow` is the colour of arrows."""
    width, text = _width(word), _plain(word)
    if word in ARROWS:
        style: dict[str, Any] = {"arrowstyle": "-|>", "color": arrow, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x + width, y), (x, y), arrowprops=style)
        if word == CUT:  # a stroke across the arrow: no gradient comes back this way
            middle = x + width / 2 - 2
            ax.plot([middle, middle], [y - 7, y + 7], color="black", lw=2.2, solid_capstyle="butt")
        return
    color = NORMAL if text == "$x$" else GREY
    if _network(word):
        learns = word[0] == "["
        kinds = [color for start, color in NETWORKS.items() if _names(word)[0].startswith(start)]
        color = (kinds or [LINES[1]])[0] if learns else GREY
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
