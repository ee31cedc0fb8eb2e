"""The book in a browser, opened from files and without a network, as on a phone and on a laptop."""

import build_book
import pytest
from browsing import PHONE

PAGES = build_book.pages()


@pytest.mark.parametrize("page_name", PAGES)
def test_page_fits_a_phone(visit, page_name):
    page = visit(page_name, PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    wide = page.evaluate(
        """() => [...document.querySelectorAll("article *")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .slice(0, 5).map(e => e.outerHTML.slice(0, 150))"""
    )
    assert width <= PHONE["width"], wide


@pytest.mark.parametrize("page_name", PAGES)
def test_pictures_load_and_formulas_are_set(visit, page_name):
    page = visit(page_name)
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")
    empty = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.src.slice(0, 150))"
    assert page.evaluate(empty) == []
    math = page.locator("span.math, div.math")
    assert math.count() == page.locator(".math:has(mjx-container)").count(), "a formula was not set"
    assert page.locator("mjx-merror").count() == 0


# What a reader sees of a flip book: its images that are shown, and what they show.
SHOWN = """book => [...book.querySelectorAll("img")].filter(i => i.offsetParent !== null).map(i => i.src)"""


@pytest.mark.parametrize("page_name", PAGES)
def test_flip_books_turn_by_key_without_a_kernel(visit, page_name):
    page = visit(page_name)
    for book in page.locator(".flip-book").all():
        for slider in book.locator("input[type=range]").all():
            slider.evaluate("s => { s.value = s.min; s.dispatchEvent(new Event('input', {bubbles: true})) }")
            before = book.evaluate(SHOWN)
            slider.press("ArrowRight")
            after = book.evaluate(SHOWN)
            assert len(before) == len(after) == 1
            assert before != after
            slider.press("ArrowLeft")
            assert book.evaluate(SHOWN) == before


def test_the_book_has_something_to_play_with(visit):
    assert visit("book/algan_2d").locator(".flip-book input[type=range]").count() > 0
