"""Figures in the book's style: histograms of scores, ROC curves, image grids, training curves, results.

In every figure blue is normal, vermilion is anomalous and green is generated. Readers with any kind of
colour vision can distinguish the three (Okabe and Ito, https://jfly.uni-koeln.de/color). Labels stand beside
what they name.

Every function draws on the axes that it gets (`ax`), or on new ones, and returns them. It sets no title: the
caller knows what the figure shows.
"""

from minigan.flipbook import FlipBook, figure_png, flip_book
from minigan.plots.pictures import image_grid
from minigan.plots.results import (
    colored_table,
    panels_by_group,
    published_and_ours,
    rank_square,
    results_dots,
)
from minigan.plots.scores import field, history, roc, score_histogram
from minigan.plots.style import (
    ANOMALOUS,
    FAKE,
    FIELD_COLORS,
    GREY,
    LINES,
    NORMAL,
    color_of,
    use_style,
)

__all__ = [
    "ANOMALOUS",
    "FAKE",
    "FIELD_COLORS",
    "GREY",
    "LINES",
    "NORMAL",
    "FlipBook",
    "color_of",
    "colored_table",
    "field",
    "figure_png",
    "flip_book",
    "history",
    "image_grid",
    "panels_by_group",
    "published_and_ours",
    "rank_square",
    "results_dots",
    "roc",
    "score_histogram",
    "use_style",
]
