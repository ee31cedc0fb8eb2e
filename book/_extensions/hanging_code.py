"""Sphinx extension for code on narrow screens: a line that does not fit goes on further in than it began.

Each line of highlighted code becomes an element that knows its indentation; `custom.css` does the rest.
Without it, all continuations stand at one place, and Python's indentation reads wrongly.
"""

import re
from collections.abc import Iterator
from html import unescape

from pygments.formatters import HtmlFormatter
from sphinx.highlighting import PygmentsBridge

#: By how many characters a line that goes on is moved in, beyond its own indentation.
HANG = 4


def hanging(line: str) -> str:
    """A line of highlighted code, with its newline, as an element with its indentation."""
    text = unescape(re.sub(r"<[^>]*>", "", line))
    hang = len(text) - len(text.lstrip(" ")) + HANG
    return f'<span class="code-line" style="--hang: {hang}ch">{line}</span>'


class Hanging(HtmlFormatter):
    """Pygments' formatter, whose lines are elements."""

    def wrap(self, source: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        return super().wrap((kind, hanging(line) if kind else line) for kind, line in source)


def setup(app: object) -> dict[str, bool]:
    """Sphinx calls this once."""
    PygmentsBridge.html_formatter = Hanging
    return {"parallel_read_safe": True, "parallel_write_safe": True}
