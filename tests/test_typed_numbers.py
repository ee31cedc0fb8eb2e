"""Chapters of results print their numbers from the records: no result is typed into prose or code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).resolve().parents[1] / "book"
CHAPTERS = sorted(
    path for name in ("full_*", "reproduce_*", "accident", "ledger") for path in BOOK.glob(f"{name}.ipynb")
)

#: Text with a point or a percent sign that is no result; it is cut out before the search.
NO_RESULTS = (
    r"^(`{3,}|~{3,})(?!\{)[\s\S]*?^\1\s*$",  # a block of code; directives, with {...}, are prose
    r"`[^`\n]*`",  # code in a sentence
    r"^:(?:width|height|scale|align|name|figclass|class):.*$",  # how a figure is displayed
    r"https?://[^\s)>]*",
    r"\]\([^)]*\)",  # the target of a link
    r"\b(?:arXiv:)?\d{4}\.\d{4,5}\b",
    r"\b10\.\d{4,}/[^\s)]*",  # a DOI
    r"\bCC BY[-A-Z]* \d\.\d\b",  # a licence
    r"(?i:\b(?:sections?|appendix|appendices|figures?|tables?|chapters?|eqs?\.|equations?)\s)"
    r"[A-Z]?\.?\d+(?:\.\d+)*(?:(?:,| and| to| or)+ [A-Z]?\.?[1-9]\d*\.\d+)*",
    r"How to get 99 % by accident",  # the title of a chapter
)
DECIMAL = r"\d[.,]\d"  # a comma between digits counts thousands: see below
PERCENTAGE = r"\d\s?(?:%|per ?cent|\\%)"

#: Calls whose numbers are positions in a figure.
PLACES = {
    "add_axes",
    "add_patch",
    "annotate",
    "axhline",
    "axvline",
    "bar",
    "barh",
    "colorbar",
    "fill_between",
    "hlines",
    "inset_axes",
    "legend",
    "margins",
    "percentile",
    "plot",
    "quantile",
    "Rectangle",
    "scatter",
    "set",
    "set_title",
    "set_xlim",
    "set_ylim",
    "subplots",
    "subplots_adjust",
    "suptitle",
    "text",
    "vlines",
}
ROUND = {0.5, 0.75}  # guessing, and three quarters
QUANTILES = {"quantile", "percentile", "interval", "ppf"}  # calls whose numbers are fractions


def typed_in_prose(markdown: str) -> list[str]:
    """Decimal numbers and percentages of a markdown cell, each with the text around it."""
    for pattern in NO_RESULTS:
        markdown = re.sub(pattern, " ", markdown, flags=re.MULTILINE)
    markdown = re.sub(r"(?<=\d),(?=\d{3}\b)", "", markdown)  # 60,000 images
    found = re.finditer(f"{DECIMAL}|{PERCENTAGE}", markdown)
    return [markdown[max(0, match.start() - 30) : match.end() + 20] for match in found]


def typed_in_code(source: str) -> list[str]:
    """Numbers of a code cell that look like results, in its code and in the texts that it prints."""
    tree = ast.parse(re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE))
    found = (_typed(node, calls) for node, calls in _nodes(tree))
    return [text for text in found if text]


def _nodes(node: ast.AST, calls: frozenset[str] = frozenset()) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Every node, with the names of the calls that it is an argument of."""
    yield node, calls
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        calls = calls | {name}
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.FormattedValue) and child is node.format_spec):  # not the .3f of {x:.3f}
            yield from _nodes(child, calls)


def _typed(node: ast.AST, calls: frozenset[str]) -> str:
    """The number that looks like a result in a node, with its context; "" where there is none."""
    value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
    if isinstance(value, str):
        text = re.sub(r"\{[^{}]*\}", "", value)  # {:.3f}, to be filled in
        match = re.search(rf"\d\.\d\d|(?<![.\d])\d+(?:\.\d+)?\s?%(?!\w)|{PERCENTAGE.replace('%|', '')}", text)
        return f"{match[0]} in {value!r}" if match else ""
    if isinstance(value, float):
        if value in ROUND or calls & QUANTILES:
            return ""
        decimals = len(repr(value).partition(".")[2])
        many = decimals >= 3 and value >= 0.01  # numbers below a hundredth are tolerances
        result = many or (decimals == 2 and 0.5 < value < 1 and not calls & PLACES)
        return repr(value) if result else ""
    return ""


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_no_result_is_typed(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = [found for cell in cells if cell.cell_type == "markdown" for found in typed_in_prose(cell.source)]
    code = [found for cell in cells if cell.cell_type == "code" for found in typed_in_code(cell.source)]
    assert prose == [] and code == []


# ---------------------------------------------------------------------- the search itself


@pytest.mark.parametrize(
    "text",
    [
        "ALGAN reaches 0.95 on bottles.",
        "It finds 99 % of them.",
        "It finds 99% of them, see *How to get 99 % by accident*.",
        "about 3 percent",
        "ten per cent, or 10 per cent",
        "Half of 1,5 is typed the German way.",
        r"$\lambda = 0.98$ and 98\% of all",
        "Table 3 says 0.876.",
        "| ALGAN | 0.9 |",
        "```{figure} a.png\n:alt: The AUROC is 0.93\n:width: 80%\nIt is high.\n```",
        "````{admonition} Solution\n```python\nx = 0.25\n```\nIt is 0.71.\n````",
        "The means of section 5.1 and 0.93.",
    ],
)
def test_a_number_in_prose_is_found(text):
    assert typed_in_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        "Three of the ten digits, 60,000 images of 28x28 pixels, 2019.",
        "# How to get 99 % by accident",
        "Figure 3, Table 1, Eq. 10 and section 6.3; appendix B.1; sections 4.1.2 and 5.1, chapter 4.",
        "See [the paper](https://example.org/a-0.98) of 2021, arXiv:1511.08060, 10.1109/TMI.2014.2370951.",
        "Run `minigan score --set sigma=0.25` first.\n\n```bash\necho 0.98 99%\n```\n",
        "It is CC BY-NC-SA 4.0, others CC BY 4.0.",
        "```{figure} a.png\n:width: 75%\n:alt: Bottles\nBottles, whole and broken.\n```",
        "Seeds 0, 1, 2 and 3. 5 of them.",
    ],
)
def test_other_numbers_are_allowed_in_prose(text):
    assert typed_in_prose(text) == []


@pytest.mark.parametrize(
    "source",
    [
        "ours = 0.98",
        "ours = {'printed': [0.91, 1.0]}",
        "pd.DataFrame({'printed': [0.93]})",
        "gap = auroc - 0.876",
        "x = 1.234",
        "print('AUROC 0.98')",
        "print(f'It reaches 0.981 by {x:.3f}')",
        "print('99 % are found')",
        "print(f'{x:.0%} of 98%')",
        "ax.set_title('AUROC 0.93')",
        "ax.plot(means, 0.1234)",
        "good = runs['auroc'] > 0.95",
    ],
)
def test_a_number_in_code_is_found(source):
    assert typed_in_code(source)


@pytest.mark.parametrize(
    "source",
    [
        "print(f'{x:.3f} and {y:+.2f}, {z:.0%}')",
        "'{:.3f}'.format(x); table.style.format('{:.1%}', precision=3)",
        "figure = plt.subplots(figsize=(6.5, 3.25 + 0.36 * n))",
        "ax.text(0.98, 0.55, 'not run'); ax.set(xlim=(min(low, 0.55), 1.05)); ax.axvline(0.5)",
        "%matplotlib inline\nlimit = np.quantile(x, [0.025, 0.95])",
        "below = values[values < 0.5]; margin, half = 0.02, 0.0005; gammas = (0.0, 0.01, 0.05, 0.1)",
        "html = '<i style=\"width:0.8rem; left: {100 * x:.0f}%\">'",
    ],
)
def test_other_numbers_are_allowed_in_code(source):
    assert typed_in_code(source) == []


def test_the_chapters_of_results_are_checked():
    names = {path.stem for path in CHAPTERS}
    assert {"accident", "ledger", "full_digits", "full_medical", "reproduce_ygan"} <= names
