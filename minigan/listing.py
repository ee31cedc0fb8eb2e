"""Source code to read in a notebook: highlighted, without docstrings, its equations marked as in the text.

    show_source(algan.loss_D)                            # one function
    show_source(ALGAN.latents, ALGAN.score_step)         # several, one below the other

A comment such as "# Eq. 3" becomes a coloured mark, and so does an equation that the docstring names: that
mark stands beside the function's name. In a chapter's text, <span class="eq eq-3">Eq. 3</span> is the same
mark, so that a formula and the line that computes it can be found by number and by colour.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

from minigan.checks import require

#: "Eq. 3", "Eq. 9 to 11", "Eq. 4, 5".
EQUATION = re.compile(r"Eq\. (\d+)(?:(?: to |, | and )(\d+))?")
#: How far the rest of a line is moved in where it does not fit, in characters.
HANG = 4

# In the book the classes of Pygments have the colours of the page; in JupyterLab, those of its editor.
STYLE = """<style>
.listing pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.listing .src { display: block; padding-left: var(--hang); text-indent: calc(-1 * var(--hang)); }
.eq { display: inline-block; text-indent: 0; padding: 0 0.45em; border-radius: 0.7em; color: white;
  background: #4D4D4D; font: bold 0.85em/1.5 sans-serif; white-space: nowrap; }
.eq-1, .eq-6, .eq-11, .eq-16 { background: #332288; } .eq-2, .eq-7, .eq-12, .eq-17 { background: #882255; }
.eq-3, .eq-8, .eq-13, .eq-18 { background: #117733; } .eq-4, .eq-9, .eq-14 { background: #7A5C00; }
.jp-OutputArea .listing :is(.k, .kn, .kc) { color: var(--jp-mirror-editor-keyword-color); }
.jp-OutputArea .listing :is(.s1, .s2) { color: var(--jp-mirror-editor-string-color); }
.jp-OutputArea .listing :is(.mi, .mf) { color: var(--jp-mirror-editor-number-color); }
.jp-OutputArea .listing .c1 { color: var(--jp-mirror-editor-comment-color); }
</style>"""


@dataclass(frozen=True)
class Listing:
    """Source code as HTML; a notebook shows it as a cell's last value, and a terminal as text."""

    code: str
    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.code


def show_source(*functions: Callable | type) -> Listing:
    """Show the source code of functions, methods or classes, highlighted and without docstrings.

    Raises:
        ValueError: nothing was given, or something whose source is not in a file.
    """
    require(bool(functions), "expected a function to show, got none; pass one or more")
    parts = [_without_docstrings(_source(function)) for function in functions]
    html = "\n".join(_as_html(code, named) for code, named in parts)
    code = "\n\n".join(code for code, _ in parts)
    return Listing(code, f'{STYLE}\n<div class="listing highlight">{html}</div>')


def _source(function: Callable | type) -> str:
    """The code as it stands in its file, moved to the left margin."""
    try:
        return dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError):
        raise ValueError(
            f"expected a function, method or class written in Python, got {function!r}; its source is not "
            "in a file"
        ) from None


def _without_docstrings(code: str) -> tuple[str, dict[int, list[int]]]:
    """The code without docstrings; for the rows of definitions, the equations that their docstrings name."""
    lines, dropped, named = code.splitlines(), set(), {}
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or len(node.body) < 2:
            continue  # without its docstring, a body of nothing else would be empty
        text = ast.get_docstring(node)
        if text is not None:
            first = node.body[0]
            dropped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
            if lines[first.end_lineno or first.lineno] == "":  # an empty line that set it off
                dropped.add((first.end_lineno or first.lineno) + 1)
            named[node.lineno] = _equations(text)
    kept = [number for number in range(1, len(lines) + 1) if number not in dropped]
    rows = {number: row for row, number in enumerate(kept)}
    return "\n".join(lines[number - 1] for number in kept), {rows[n]: found for n, found in named.items()}


def _equations(text: str) -> list[int]:
    """The numbers of the equations that a text names, each once."""
    found: list[int] = []
    for match in EQUATION.finditer(text):
        first, last = int(match[1]), int(match[2] or match[1])
        found += range(first, last + 1) if " to " in match[0] else [first, last]
    return list(dict.fromkeys(found))


def _as_html(code: str, named: dict[int, list[int]]) -> str:
    """One function as HTML: a row for each line, which hangs where it does not fit."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    rows = highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    for i, row in enumerate(rows):
        line = code.splitlines()[i]
        hang = len(line) - len(line.lstrip()) + HANG
        row = EQUATION.sub(lambda match: _mark(int(match[1]), match[0]), row)
        marks = " ".join(_mark(number, f"Eq. {number}") for number in named.get(i, []))
        rows[i] = f'<span class="src" style="--hang: {hang}ch">{row}{" " * bool(marks)}{marks}\n</span>'
    return f"<pre>{''.join(rows)}</pre>"


def _mark(number: int, text: str) -> str:
    """The mark of an equation."""
    return f'<span class="eq eq-{number}">{text}</span>'
