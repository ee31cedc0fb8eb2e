"""The book in a browser, opened from files and without a network, as on a phone and on a laptop."""

import build_book
import print_pdf
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import PHONE, visits
from pypdf import PdfReader

PAGES = build_book.pages()
#: A chapter with code, formulas and figures, and one with tables of all kinds.
LOOKED_AT = ("book/algan", "book/full_digits")
#: Lines of code that are wider than their box, folded ones included.
WIDE_CODE = """() => {
    document.querySelectorAll("article details").forEach(fold => { fold.open = true });
    return [...document.querySelectorAll("article pre")]
        .filter(code => code.scrollWidth > code.clientWidth + 1).map(code => code.innerText.slice(0, 150));
}"""


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser, book_html):
    """A page of the book on a laptop, opened once for the three tests that follow, in their order."""
    with visits(browser, book_html) as visit:
        yield visit(request.param)


def test_pictures_load_and_formulas_are_set(opened):
    opened.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    opened.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    empty = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src.slice(0, 150))"
    assert opened.evaluate(empty) == []
    math = opened.locator("span.math, div.math")
    assert math.count() == opened.locator(".math:has(mjx-container)").count(), "a formula was not set"
    assert opened.locator("mjx-merror").count() == 0
    assert opened.evaluate(WIDE_CODE) == [], "code that scrolls sideways on a laptop"


# What a reader sees of a flip book: its images that are shown, and what they show.
SHOWN = """book => [...book.querySelectorAll("img")].filter(i => i.offsetParent !== null).map(i => i.src)"""


def test_flip_books_turn_by_key_without_a_kernel(opened):
    for book in opened.locator(".flip-book").all():
        for slider in book.locator("input[type=range]").all():
            slider.evaluate("s => { s.value = s.min; s.dispatchEvent(new Event('input', {bubbles: true})) }")
            before = book.evaluate(SHOWN)
            slider.press("ArrowRight")
            after = book.evaluate(SHOWN)
            assert len(before) == len(after) == 1
            assert before != after
            slider.press("ArrowLeft")
            assert book.evaluate(SHOWN) == before


def test_page_fits_a_phone(opened):
    opened.set_viewport_size(PHONE)
    width = opened.evaluate("document.documentElement.scrollWidth")
    wide = opened.evaluate(
        """() => [...document.querySelectorAll("article *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 5).map(e => e.outerHTML.slice(0, 150))"""
    )
    assert width <= PHONE["width"], wide


@pytest.mark.parametrize("page_name", LOOKED_AT)
def test_a_page_is_readable_for_all_in_light_and_in_dark(visit, page_name):
    """axe finds nothing serious, such as text with little contrast; the theme follows the reader's system."""
    page = visit(page_name)
    for scheme, rules in (("light", ["wcag2a", "wcag2aa"]), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("wanted => document.documentElement.dataset.theme === wanted", arg=scheme)
        ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] / 255"
        page.wait_for_function(f"light => {ground} > 0.5 === light", arg=scheme == "light")
        options = {"runOnly": rules, "preload": False, "resultTypes": ["violations"]}
        found = Axe().run(page, context="article", options=options).response["violations"]
        serious = [v for v in found if v["impact"] in ("serious", "critical")]
        shown = [(v["id"], v["nodes"][0]["html"][:150], v["nodes"][0]["failureSummary"]) for v in serious]
        assert shown == [], scheme


#: One control of each kind, on a page that has them all.
CONTROLS = (
    "article a",
    "article summary",
    ".flip-book input",
    ".flip-book button",
    ".bd-header-article button",
)


def test_the_focus_can_be_seen_on_every_kind_of_control(visit):
    """With the Tab key: a line around links, folds, sliders and buttons, at least two pixels wide."""
    page, seen = visit("book/algan"), {}
    for kind in CONTROLS:
        page.locator(f"{kind}:visible").first.focus()
        page.keyboard.press("Shift+Tab")  # from here on the browser knows that the reader uses the keyboard
        page.keyboard.press("Tab")
        seen[kind] = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
    assert {kind: line for kind, line in seen.items() if line[0] == "none" or line[1] < 2} == {}


def test_the_book_has_something_to_play_with(visit):
    assert visit("book/algan_2d").locator(".flip-book input[type=range]").count() > 0


def test_a_chapter_prints_with_open_solutions_and_frames(browser, book_html, tmp_path):
    """Into a PDF, as `make pdf` does it."""
    path = tmp_path / "new" / "chapters.pdf"
    sheets = print_pdf.print_book(browser, book_html, ["book/thresholds"], path, "https://example.org/")
    reader = PdfReader(path)
    assert [entry.title for entry in reader.outline] == ["Thresholds and alarms"]
    texts = [page.extract_text() for page in reader.pages]
    whole = "".join(texts)
    assert len(texts) == sheets > 5 and "Thresholds and alarms, 2" in texts[1]
    assert "On average over many calibration sets" in whole  # a solution, folded on the screen
    assert "Show the code" not in whole and "Play" not in whole
    source = (build_book.ROOT / "book" / "thresholds.ipynb").read_text(encoding="utf-8")
    assert "def day_alt(" in source and "def day_alt(" not in whole  # folded code that draws
    assert whole.count("false alarms: ") >= 4, "frames of a flip book, side by side"
    links = {
        note.get_object()["/A"]["/URI"]
        for page in reader.pages
        for note in page.get("/Annots", [])
        if "/URI" in note.get_object().get("/A", {})
    }
    assert "https://example.org/book/dirty_data.html" in links
    assert not any(link.startswith("file:") for link in links)


def test_what_cannot_be_printed_is_said(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="expected the built pages book/nowhere in .*, got none; run `make"):
        print_pdf.print_book(None, tmp_path, ["book/nowhere"], tmp_path / "a.pdf")
    monkeypatch.setattr(print_pdf, "chromium", lambda: None)
    with pytest.raises(SystemExit, match="expected a Chromium or Chrome on this machine, got none"):
        print_pdf.main(["--pages", "notation"])
