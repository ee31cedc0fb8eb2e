"""Colours and defaults of the book's figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap

NORMAL = "#0072B2"  # blue
ANOMALOUS = "#D55E00"  # vermilion
FAKE = "#009E73"  # green: generated images or points
GREY = "#595959"
#: Colours of lines that are neither normal nor anomalous (losses, methods), dark enough for text.
LINES = ("#332288", "#AA4499", "#117733", "#882255", "#4D4D4D", "#806000")
#: Blue below the threshold, white at it, vermilion above it; pale, so that points stay visible on it.
FIELD_COLORS = LinearSegmentedColormap.from_list("field", ["#5AA9D6", "#FFFFFF", "#F0955A"])


def use_style() -> None:
    """The book's style: sets matplotlib's defaults; call it once, at the top of a notebook."""
    plt.rcParams.update(
        {
            "figure.dpi": 90,
            "figure.figsize": (6.0, 3.6),  # inches; the letters stay readable on a phone
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.titlesize": 13,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.prop_cycle": plt.cycler(color=LINES),
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "xtick.color": GREY,
            "ytick.color": GREY,
        }
    )


def color_of(name: str) -> str:
    """The colour of a group by its name: "fake anomalous" -> ANOMALOUS, "fake" -> FAKE, "real" -> NORMAL."""
    meanings = {ANOMALOUS: ("anomal",), FAKE: ("fake", "generated"), NORMAL: ("normal", "real")}
    for color, words in meanings.items():
        if any(word in name.lower() for word in words):
            return color
    return GREY


def as_array(values: object) -> np.ndarray:
    """Numbers of any kind, those of a graph or of another device included, as an array."""
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)
