"""The book in a browser, opened from files and without a network, as on a phone and on a laptop."""

import os
import shutil

import build_book
import pytest
from playwright.sync_api import sync_playwright

PAGES = build_book.pages()
PHONE = {"width": 390, "height": 844}  # CSS pixels
LAPTOP = {"width": 1280, "height": 800}
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
# An error that the theme makes on every page (it sets a constant twice, of a service that we do not use).
THEMES_OWN = "Identifier 'THEBE_JS_URL' has already been declared"


@pytest.fixture(scope="module")
def browser():
    """A Chromium that is on this machine; none is downloaded."""
    found = [*filter(None, map(shutil.which, NAMES)), *filter(os.path.exists, PLACES)]
    if not found:
        pytest.skip("no Chromium or Chrome on this machine: install one to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, book_html):
    """visit("book/intro", size) opens a page; at the end of the test nothing may have gone wrong in it."""
    contexts, wrong = [], []

    def visit(page_name: str, size: dict = LAPTOP):
        context = browser.new_context(viewport=size, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url[:200]}"))
        page.on(
            "request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None
        )
        page.goto((book_html / f"{page_name}.html").as_uri())
        page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [message for message in wrong if message != THEMES_OWN] == []


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
