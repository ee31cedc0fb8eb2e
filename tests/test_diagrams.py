"""Diagrams: what stands where, what is a network, and rows that cannot be read."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import raises_sentence
from matplotlib.patches import FancyBboxPatch

from minigan import diagrams, plots


@pytest.fixture(autouse=True)
def figures_are_closed():
    yield
    plt.close("all")


def test_words_stand_in_their_order_and_row_by_row():
    ax = diagrams.flow(["x -> [E] -> code : like_a_code?", "z -> (G) -> fake -| [D]"])
    found = sorted(((round(-t.get_position()[1]), t.get_position()[0]), t.get_text()) for t in ax.texts)
    assert [text for _, text in found if text] == [
        *("$x$", "$E$", "code", "like_a_code?"),
        *("$z$", "$G$", "fake", "$D$"),
    ]


def test_networks_that_learn_are_solid_in_their_colour_and_others_dashed():
    ax = diagrams.flow(["z -> (G) -> fake -| [D] -> score"])
    used, learning = (p for p in ax.patches if isinstance(p, FancyBboxPatch))
    assert used.get_linestyle() != "solid" and learning.get_linestyle() == "solid"
    assert learning.get_edgecolor()[:3] == pytest.approx(plt.matplotlib.colors.to_rgb(plots.ANOMALOUS))
    assert used.get_edgecolor()[:3] == pytest.approx(plt.matplotlib.colors.to_rgb(plots.GREY))


def test_a_stroke_crosses_each_arrow_whose_gradient_is_cut():
    assert len(diagrams.flow(["z -> [G] -> fake -| [D]", "x -| [D]"]).lines) == 2
    assert len(diagrams.flow(["z -> [G] -> fake -> [D]"]).lines) == 0


def test_nothing_is_drawn_outside_of_its_own_figure():
    ax = diagrams.flow(["x -> [G_E] -> z -> [$G_D$] -> $x'$ : a long end in bold letters?", "z -> [G]"])
    ax.figure.canvas.draw()
    room = ax.get_window_extent()
    for text in ax.texts:
        if text.get_text():
            box = text.get_window_extent()
            assert room.x0 <= box.x0 and box.x1 <= room.x1 + 1, text.get_text()
            assert room.y0 <= box.y0 and box.y1 <= room.y1, text.get_text()


def test_boxes_and_their_texts_do_not_overlap():
    ax = diagrams.flow(["x -> [encoder] -> z -> [decoder] -> y"])
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in ax.texts if t.get_text()), key=lambda box: box.x0)
    assert np.all([a.x1 < b.x0 for a, b in zip(boxes, boxes[1:], strict=False)])


def test_it_draws_on_given_axes():
    ax = plt.subplots()[1]
    assert diagrams.flow(["x -> [D]"], ax=ax) is ax


@pytest.mark.parametrize("row", ["", "x ->", "-> x", "x y", "x -> -> y", "x => y"])
def test_a_row_that_cannot_be_read(row):
    with raises_sentence(ValueError, "expected a row such as", f"got {row!r}"):
        diagrams.flow([row])


def test_no_rows():
    with raises_sentence(ValueError, "expected at least one row to draw, got none"):
        diagrams.flow([])
