"""Prints the built book into one PDF with bookmarks, by a Chromium or Chrome on this machine.

    python book/print_pdf.py                                        # what `make pdf` does, after `make book`
    python book/print_pdf.py --pages gan_2d algan --output two.pdf  # some chapters

Paper shows what the style sheet and `_static/print.js` make of a page: solutions are open, code that is
folded is left out, and a flip book shows some of its frames. Links to other pages lead to the published book,
where MINIGAN_BOOK_URL says where that is; otherwise they are plain text.
"""

import argparse
import io
import os
import shutil
import sys
from html import escape
from pathlib import Path

from build_book import ROOT, pages
from playwright.sync_api import Browser, Page, sync_playwright
from pypdf import PdfWriter

from minigan.files import replacing

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
)
FOOTER = (
    '<div style="width: 100%; font-size: 8px; text-align: center">'
    '{title}, <span class="pageNumber"></span></div>'
)
#: Pictures and formulas are there, and no link leads to a file of this machine.
READY = """async base => {
    document.querySelectorAll("img").forEach(image => { image.loading = "eager" });
    await Promise.all([...document.images].map(image => image.decode().catch(() => 0)));
    await window.MathJax?.startup?.promise;
    const root = new URL(document.documentElement.dataset.content_root, location.href).href;
    document.querySelectorAll("a[href]").forEach(link => {
        const own = link.href.split("#")[0] === location.href.split("#")[0];
        if (own || !link.href.startsWith("file:")) return;
        if (base) link.href = base + link.href.slice(root.length); else link.removeAttribute("href");
    });
}"""


def chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine; None if there is none."""
    found = [*filter(None, map(shutil.which, NAMES)), *filter(os.path.exists, PLACES)]
    return found[0] if found else None


def sheet(page: Page, path: Path, base: str) -> tuple[str, bytes]:
    """The title and the PDF of one built page."""
    page.goto(path.as_uri())
    page.evaluate(READY, base)
    title = page.locator("h1").first.inner_text().rstrip("#").strip()
    margin = dict.fromkeys(("top", "right", "bottom", "left"), "16mm")
    footer = FOOTER.format(title=escape(title))
    options = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": footer}
    return title, page.pdf(format="A4", print_background=True, margin=margin, **options)


def print_book(browser: Browser, html: Path, names: list[str], output: Path, base: str = "") -> int:
    """Print pages of the book in `html` into one PDF; returns how many sheets it has.

    Raises:
        SystemExit: with one sentence, if a page was not built.
    """
    missing = [name for name in names if not (html / f"{name}.html").exists()]
    if missing:
        sys.exit(f"expected the built pages {', '.join(missing)} in {html}, got none; run `make book` first")
    writer = PdfWriter()
    page = browser.new_context(offline=True).new_page()
    page.set_default_timeout(120_000)  # milliseconds; busy machines are slow
    for name in names:
        title, content = sheet(page, html / f"{name}.html", base)
        writer.append(io.BytesIO(content), outline_item=title)
    page.context.close()
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as temporary:
        writer.write(temporary)
    return len(writer.pages)


def main(arguments: list[str] | None = None) -> None:
    """The command line, as described at the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", help="the built book")
    parser.add_argument("--pages", nargs="+", help="names of chapters, such as gan_2d; default: all")
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "minigan.pdf")
    options = parser.parse_args(arguments)
    names = [f"book/{name}" for name in options.pages] if options.pages else pages()
    base = os.environ.get("MINIGAN_BOOK_URL", "").strip()
    base = f"{base.rstrip('/')}/" if base else ""
    program = chromium()
    if program is None:
        sys.exit("expected a Chromium or Chrome on this machine, got none; install one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        sheets = print_book(browser, options.html.resolve(), names, options.output, base)
        browser.close()
    print(f"{options.output}: {sheets} sheets")


if __name__ == "__main__":
    main()
