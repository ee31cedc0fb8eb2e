"""Diagrams: what stands where, what is a network, and rows that cannot be read."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import raises_sentence
from matplotlib.patches import FancyBboxPatch

import minigan
from minigan import diagrams, plots

#: Chapters and the method that each of them draws.
CHAPTERS = {
    "algan": "ALGAN",
    "agad": "AGAD",
    "adegan": "ADeGAN",
    "simultaneous_encoder": "SimultaneousEncoder",
    "ygan": "YGAN",
}


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


# ---------------------------------------------------------------------- whole methods


@pytest.mark.parametrize("name", diagrams.METHODS)
def test_the_gradient_of_each_loss_is_drawn_to_the_networks_that_it_trains(name):
    declared = getattr(minigan, name).gradient_flow
    drawn = {loss: part.learning() for part in diagrams.METHODS[name] for loss in part.losses}
    assert drawn == declared


@pytest.mark.parametrize("name", diagrams.METHODS)
def test_no_network_learns_before_a_cut(name):
    """A gradient comes from the end of a path, and stops where it is cut."""
    for row in (row for part in diagrams.METHODS[name] for row in part.rows):
        before, cut, _ = row.rpartition(diagrams.CUT)
        assert not cut or "[" not in before, row


@pytest.mark.parametrize("name", diagrams.METHODS)
def test_an_arrow_of_the_gradient_ends_at_each_network_that_learns(name):
    ax = diagrams.method(name)
    boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch) and p.get_linestyle() == "solid"]
    middles = {(round(b.get_x() + b.get_width() / 2, 3), round(b.get_y(), 3)) for b in boxes}
    arrows = [t for t in ax.texts if not t.get_text() and t.arrowprops["color"] == diagrams.GRADIENT]
    ends = {(round(t.xy[0], 3), round(t.xy[1], 3)) for t in arrows if t.xy[0] == t.xyann[0]}
    assert ends and ends == {middle for middle in middles if middle in ends}
    assert len(middles - ends) == 1  # the key's box that says "learns"


@pytest.mark.parametrize("name", diagrams.METHODS)
def test_a_diagram_of_a_method_stays_within_its_figure(name):
    ax = diagrams.method(name)
    ax.figure.canvas.draw()
    room, texts = ax.get_window_extent(), [t.get_window_extent() for t in ax.texts if t.get_text()]
    assert min(t.x0 for t in texts) >= room.x0 and max(t.x1 for t in texts) <= room.x1 + 1
    assert ax.figure.get_figwidth() <= 7.2  # inches; wider ones are hard to read on a phone


@pytest.mark.parametrize(("chapter", "name"), CHAPTERS.items())
def test_the_chapter_of_a_method_shows_its_diagram_and_says_it_in_words(chapter, name):
    path = Path(__file__).parents[1] / "book" / f"{chapter}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    [cell] = [c for c in cells if f'diagrams.method("{name}")' in "".join(c["source"])]
    assert cell["metadata"]["mystnb"]["image"]["alt"] == diagrams.describe(name)


def test_a_description_says_what_a_picture_shows():
    text = diagrams.describe("YGAN")
    assert "z_r to, with the gradient reversed, C" in text and "the gradient reaches C and E_r." in text
    assert "x hat to, without a gradient back, Ds" in text and "$" not in text


def test_a_method_without_a_diagram():
    with raises_sentence(ValueError, "expected one of ALGAN, AGAD", "got 'PCA'"):
        diagrams.method("PCA")
