"""What the browser tests share: sizes of screens, and a Chromium that is on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import print_pdf
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PHONE = {"width": 390, "height": 844}  # CSS pixels
LAPTOP = {"width": 1280, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium that is on this machine; none is downloaded."""
    found = print_pdf.chromium()
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine: install one to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visits(browser: Browser, html: Path) -> Iterator[Callable[..., Page]]:
    """visit("book/intro", size) opens a page; at the end nothing may have gone wrong in any of them."""
    contexts, wrong = [], []

    def visit(page_name: str, size: dict = LAPTOP, fragment: str = "", **options) -> Page:
        context = browser.new_context(viewport=size, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds; busy machines are slow
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"not loaded: {request.url[:200]}"))
        page.on(
            "request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None
        )
        page.goto((html / f"{page_name}.html").as_uri() + fragment)
        page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []
