"""What several test files share: quiet, repeatable runs, and the book, built once."""

import signal
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

matplotlib.use("Agg")
torch.set_num_threads(1)  # small networks; xdist's workers share the cores
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts jobs in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def book_html(tmp_path_factory) -> Path:
    """The folder of the built book; workers that run side by side share one build."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base  # xdist's workers: popen-gw0, ...
    html = shared / "book" / "_build" / "html"
    with FileLock(shared / "book.lock"):
        log = shared / "book.log"
        if not log.exists():  # the first one here builds, whatever comes of it
            command = [sys.executable, "book/build_book.py", "--execute", "none"]
            command += ["--output", str(shared / "book")]
            with log.open("w", encoding="utf-8") as out:
                subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, timeout=280)
    text = log.read_text(encoding="utf-8", errors="replace")
    if "The book is ready" not in text:
        pytest.fail(f"the book was not built cleanly:\n{text[-8000:]}")
    return html


@pytest.fixture(scope="module")
def browser():
    """A Chromium that is on this machine; without one, the test is skipped."""
    from browsing import chromium  # here, because most test files need no browser

    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, book_html):
    """visit("book/intro", size) opens a page of the book; at the end nothing may have gone wrong in it."""
    from browsing import visits

    with visits(browser, book_html) as visit:
        yield visit
