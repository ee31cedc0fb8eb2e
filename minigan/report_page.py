"""HTML of a report: one file without scripts that loads nothing, readable on paper and in dark mode.

    page("Report", [section("Data", table(["file", "score"], [["a.png", 0.5]]), paragraph("..."))])

Everything that is not `Html` is escaped where it is put in, so a file name cannot become a part of the page.
The page also forbids itself, by its content security policy, to run or to load anything. Imports no torch.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence

from PIL import Image

#: Longer side of photographs in the page, in pixels.
SIDE = 192

Content = object  # Html as it is; everything else as escaped text


class Html(str):
    """Text that is HTML already."""


def as_html(content: Content) -> Html:
    """HTML as it is, and everything else as text; what cannot be seen in a text is written as its code."""
    if isinstance(content, Html):
        return content
    # Line breaks, marks that turn the direction of writing, bytes of names that are not UTF-8.
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(content))
    return Html(html.escape(seen))


def joined(parts: Iterable[Content]) -> Html:
    """Several contents, one after the other."""
    return Html("\n".join(as_html(part) for part in parts))


def element(tag: str, *content: Content, **attributes: str) -> Html:
    """<tag attribute="...">content</tag>; `class_` stands for `class`, `aria_label` for `aria-label`."""
    named = {name.rstrip("_").replace("_", "-"): as_html(value) for name, value in attributes.items()}
    inside = "".join(f' {name}="{value}"' for name, value in named.items())
    return Html(f"<{tag}{inside}>{joined(content)}</{tag}>")


def section(title: str, *content: Content) -> Html:
    """A part of the page, with its heading."""
    key = re.sub(r"\W+", "-", title.lower()).strip("-")
    return element("section", element("h2", title, id=key), *content, aria_labelledby=key)


def paragraph(*content: Content) -> Html:
    """A paragraph."""
    return element("p", *content)


def bullets(items: Iterable[Content]) -> Html:
    """A list of points."""
    return element("ul", *(element("li", item) for item in items))


def table(header: Sequence[str], rows: Iterable[Sequence[Content]], caption: str) -> Html:
    """A table; the first cell of each row names it. Columns of nothing but numbers stand at the right."""
    rows = list(rows)
    columns = [[row[i] for row in rows] for i in range(1, len(header))]
    sides = [{"class_": "number"} if all(map(_is_number, column)) else {} for column in columns]
    names = zip(header, [{}, *sides], strict=True)
    head = element("tr", *(element("th", name, scope="col", **side) for name, side in names))
    lines = []
    for first, *others in rows:
        cells = (element("td", cell, **side) for cell, side in zip(others, sides, strict=True))
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    return element("table", element("caption", caption), element("thead", head), element("tbody", *lines))


def picture(png: bytes, alt: str, caption: Content = "", kind: str = "figure") -> Html:
    """A picture inside the page; `alt` says in words what it shows. `kind`: "figure" or "photograph"."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = Html(f'<img src="{source}" alt="{as_html(alt)}">')
    below = [element("figcaption", caption)] if caption else []
    return element("figure", image, *below, class_=kind)


def gallery(pictures: Iterable[Html]) -> Html:
    """Photographs beside each other, as many as fit."""
    return element("div", *pictures, class_="gallery")


def thumbnail(image: Image.Image) -> bytes:
    """An image with at most `SIDE` pixels a side, as PNG."""
    buffer = io.BytesIO()
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def page(title: str, lead: Content, sections: Iterable[Html]) -> str:
    """The whole page."""
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<meta http-equiv="Content-Security-Policy" content="'),
            Html("default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"),
            Html('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    body = joined([element("header", element("h1", title), lead), element("main", *sections)])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _is_number(content: Content) -> bool:
    return bool(re.fullmatch(r"-?[\d.]+(e-?\d+)?( ?%)?", str(content)))


STYLE = """
:root { --ink: #1b1b1b; --paper: #ffffff; --soft: #f1f3f5; --line: #9aa0a6; --flagged: #a33f00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --paper: #16181a; --soft: #24282c; --line: #70777e; --flagged: #ff9d5c; }
}
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-top: 1px solid var(--line); padding: .25rem .7rem; text-align: left; vertical-align: top; }
thead th { background: var(--soft); overflow-wrap: break-word; } .number { text-align: right; }
td.number { white-space: nowrap; }
tbody th { font-weight: 400; min-width: 5em; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
figure.figure img { background: #ffffff; border-radius: 4px; }
figcaption { font-size: .85rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)); gap: .8rem; }
.gallery figure { margin: 0; } .gallery img { width: 100%; }
strong.flagged { color: var(--flagged); }
@media (max-width: 40rem) {
  table { font-size: .85rem; } th, td { padding: .25rem .35rem; }
  .gallery { grid-template-columns: repeat(2, 1fr); }
}
@media print {
  :root { --ink: #000000; --paper: #ffffff; --soft: #eeeeee; --line: #777777; --flagged: #8a3500; }
  body { max-width: none; font-size: 10pt; padding: 0; }
  figure, tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  .gallery { grid-template-columns: repeat(4, 1fr); }
}
"""
