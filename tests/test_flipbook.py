"""Flip books and the pictures in them: whole, small, accessible and the same in every run."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image, ImageColor

from minigan import plots

VOID = {"img", "input", "meta"}


@pytest.fixture(autouse=True)
def fresh_figures():
    plt.switch_backend("agg")
    with plt.rc_context():
        yield
    plt.close("all")


def swatch(color, size=(30, 20)):
    return Image.new("RGB", size, color)


class Page(HTMLParser):
    """The elements of a page, as (tag, attributes); refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def book_data(book):
    """The JSON in the book's script."""
    return json.loads(re.search(r"const \{frames.*?\} = (\{.*\});\n", book.html)[1])


def picture(encoded):
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")


def test_figure_png_has_a_small_palette():
    def draw() -> bytes:  # a figure anew each time: drawn twice, its layout may move
        figure, ax = plt.subplots(figsize=(3, 2))
        ax.plot([0, 1], color=plots.NORMAL, linewidth=10)
        return plots.figure_png(figure, colors=16, dpi=50)

    png = draw()
    image = Image.open(io.BytesIO(png))
    assert (image.mode, image.size) == ("P", (150, 100))
    colors = {color for _, color in image.convert("RGB").getcolors()}
    assert len(colors) <= 16
    assert {(255, 255, 255), ImageColor.getrgb(plots.NORMAL)} <= colors
    assert len(png) < 2000
    assert draw() == png


def test_book_shows_the_frame_of_its_sliders():
    colors = [["#000000", "#000080", "#0000FF"], ["#FF0000", "#FF0080", "#FF00FF"]]
    frames = [[swatch(color) for color in row] for row in colors]
    book = plots.flip_book(frames, [("Red", [0, 1]), ("Blue", ["no", "half", "full"])], start=(1, 2))
    data = book_data(book)
    assert data["values"] == [["0", "1"], ["no", "half", "full"]]
    shown = [picture(frame).getpixel((5, 5)) for frame in data["frames"]]
    assert shown == [ImageColor.getrgb(color) for row in colors for color in row]
    assert data["alts"][-1] == "Red 1, Blue full"
    page = Page(book.html)
    (image,) = page.all("img")
    assert image["src"] == "data:image/png;base64," + data["frames"][5]
    assert (image["width"], image["height"], image["alt"]) == ("30", "20", "Red 1, Blue full")
    assert book.frames == 6
    assert repr(book).startswith("FlipBook(6 frames, ")
    assert book._repr_html_() == book.html


def test_frames_come_as_function_dict_or_list():
    colors = {(0,): "#FF0000", (1,): "#00FF00"}
    sliders = [("Epoch", [1, 2])]
    book = plots.flip_book({at: swatch(color) for at, color in colors.items()}, sliders)
    assert plots.flip_book([swatch(color) for color in colors.values()], sliders) == book
    assert plots.flip_book(lambda i: swatch(colors[i,]), sliders) == book


def test_figures_are_drawn_and_closed():
    def frame(i):
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.plot([0, i])
        return figure

    book = plots.flip_book(frame, [("Epoch", [0, 1])], dpi=40)
    assert Page(book.html).all("img")[0]["width"] == "80"
    assert plt.get_fignums() == []


def test_every_slider_has_a_label_a_spoken_value_and_an_output():
    page = Page(
        plots.flip_book(
            lambda *at: swatch("red"), [("Epoch", [0, 5]), ("Noise <σ>", ["low", '"high"'])], start=(0, 1)
        ).html
    )
    inputs, ids = page.all("input"), [attrs["id"] for attrs in page.all("input")]
    assert [label["for"] for label in page.all("label")] == ids
    assert [output["for"] for output in page.all("output")] == ids
    assert len(set(ids)) == 2
    assert [(i["type"], i["min"], i["max"], i["value"]) for i in inputs] == [
        ("range", "0", "1", "0"),
        ("range", "0", "1", "1"),
    ]
    assert [i["aria-valuetext"] for i in inputs] == ["0", '"high"']
    assert "flip-book" in page.all("figure")[0]["class"].split()


def test_only_a_book_with_one_slider_plays():
    one = plots.flip_book([swatch("red")] * 2, [("Epoch", [0, 1])], seconds=0.25)
    two = plots.flip_book([[swatch("red")] * 2] * 2, [("a", [0, 1]), ("b", [0, 1])])
    assert [attrs["type"] for attrs in Page(one.html).all("button")] == ["button"]
    assert book_data(one)["wait"] == 250
    assert Page(two.html).all("button") == []


def test_alternative_texts_and_captions():
    sliders, frames = [("Epoch", [0, 0.5])], [swatch("red")] * 2
    spoken = plots.flip_book(frames, sliders, alt=lambda epoch: f"twice {2 * epoch}")
    assert book_data(spoken)["alts"] == ["twice 0", "twice 1.0"]
    listed = plots.flip_book(frames, sliders, alt=["one", "two"])
    assert book_data(listed)["alts"] == ["one", "two"]
    captioned = plots.flip_book(frames, sliders, caption="Loss < 1.")
    assert "<figcaption>Loss &lt; 1.</figcaption>" in captioned.html
    assert book_data(captioned)["alts"][0] == "Loss < 1. Epoch 0"


def test_no_text_ends_the_script_or_a_tag():
    nasty = '</script><b x="'
    book = plots.flip_book([swatch("red")] * 2, [(nasty, [nasty, 1])], nasty, start=(0,))
    page = Page(book.html)  # would find tags out of order
    assert page.all("b") == []
    assert page.all("input")[0]["aria-valuetext"] == nasty
    assert book_data(book)["values"] == [[nasty, "1"]]


def test_books_repeat_to_the_byte_and_do_not_share_ids():
    def book(color, name="Epoch"):
        return plots.flip_book([swatch(color), swatch("red")], [(name, [0, 1])], alt=["a", "b"])

    assert book("blue").html == book("blue").html
    ids = [Page(each.html).all("input")[0]["id"] for each in (book("blue"), book("green"))]
    assert ids[0] != ids[1]
    assert ids[0] != Page(book("blue", "Step").html).all("input")[0]["id"]


def test_book_needs_nothing_from_elsewhere(tmp_path):
    book = plots.flip_book([swatch("red"), swatch("blue")], [("Größe", [0, 1])])
    assert not re.search(r"https?:|//[a-z]|import|<link|src=\"(?!data:)", book.html)
    book.save(tmp_path / "book.html")
    saved = (tmp_path / "book.html").read_text(encoding="utf-8")
    assert saved.startswith("<!DOCTYPE html>")
    assert book.html in saved
    assert {"charset": "utf-8"} in Page(saved).all("meta")


def test_book_is_refused_above_its_limit():
    noise = np.random.default_rng(0).integers(0, 256, (2, 100, 100, 3), dtype=np.uint8)
    frames = [Image.fromarray(image) for image in noise]
    assert len(plots.flip_book(frames, [("Epoch", [0, 1])]).html) > 20_000
    with pytest.raises(ValueError, match=r"at most 0\.02 MB, got 0\.0 MB for 2 frames"):
        plots.flip_book(frames, [("Epoch", [0, 1])], limit=0.02)


RED = swatch("red")


@pytest.mark.parametrize(
    ("frames", "sliders", "options", "message"),
    [
        ([RED], [("Epoch", [0, 1])], {}, "expected 2 frames .* got 1"),
        ([RED] * 3, [("Epoch", [0, 1])], {}, "expected 2 frames .* got 3"),
        ([RED] * 2, [("a", [0, 1]), ("b", [0, 1])], {}, "expected 2 frames .* got Image"),
        ([[RED] * 2, [RED]], [("a", [0, 1]), ("b", [0, 1])], {}, "expected 2 frames .* got 1"),
        ({(0,): RED, (2,): RED}, [("Epoch", [0, 1])], {}, r"a frame for the positions \(1,\), got none"),
        ({(0,): RED}, [("Epoch", [0, 1])], {}, "expected 2 frames .* got 1"),
        ([RED, swatch("red", (31, 20))], [("Epoch", [0, 1])], {}, r"\(30, 20\), \(31, 20\)"),
        ([RED], [("Epoch", [0])], {}, "at least two values"),
        ([], [], {}, "at least two values"),
        ([RED] * 2, [("Epoch", [0, 1])], {"start": (2,)}, r"from \(0,\) to \(1,\), got \(2,\)"),
        ([RED] * 2, [("Epoch", [0, 1])], {"alt": ["one"]}, "2 alternative texts, .* got 1"),
    ],
)
def test_book_refuses_what_does_not_fit(frames, sliders, options, message):
    with pytest.raises(ValueError, match=message):
        plots.flip_book(frames, sliders, **options)


def test_book_refuses_a_function_that_returns_no_picture():
    with pytest.raises(TypeError, match="a matplotlib figure or a PIL image as a frame, got NoneType"):
        plots.flip_book(lambda i: None, [("Epoch", [0, 1])])
