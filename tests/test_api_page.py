"""The API pages: every detector with its hyperparameters, their types, defaults and texts, none made up."""

import re

import build_book
import plain_docstrings
import pytest
from bs4 import BeautifulSoup

import minigan
from minigan.detector import Detector
from minigan.hyperparameters import class_variables, hyperparameters
from minigan.neural import NeuralDetector

CONTRACT = ("Detector", "NeuralDetector")
CLASSES = [Detector, NeuralDetector, *map(minigan.get, minigan.methods())]


#: The overview, and the pages by module.
OVERVIEW, *PAGES = (name for name in build_book.pages() if name.startswith("book/api"))


@pytest.fixture(scope="module")
def pages(book_html):
    """The text of each page, without what surrounds it."""
    texts = {name: (book_html / f"{name}.html").read_text(encoding="utf-8") for name in (OVERVIEW, *PAGES)}
    return {name: BeautifulSoup(text, "html.parser").article for name, text in texts.items()}


@pytest.fixture(scope="module")
def entries_by_id(pages):
    """What a link can lead to, of all pages."""
    return {tag["id"]: tag for page in pages.values() for tag in page.select("[id]")}


def text_of(tag) -> str:
    """The text of an element without the link to itself, and with single spaces."""
    return re.sub(r"\s+", " ", tag.get_text()).rstrip("# ").strip()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_hyperparameters_stand_on_the_page_with_type_default_and_text(entries_by_id, cls):
    entries = [*hyperparameters(cls), *class_variables(cls)]
    listed = [e for e in entries if e.owner not in CONTRACT or e.owner == cls.__name__]
    assert listed
    for entry in listed:
        signature = entries_by_id[f"{cls.__module__}.{cls.__name__}.{entry.name}"]
        shown = text_of(signature)
        assert shown.startswith(f"{entry.name}: ") and " = " in shown
        if isinstance(entry.default, int | float | str | None | tuple):
            assert shown == f"{entry.name}: {entry.type_text} = {entry.default!r}"
        described = text_of(signature.find_parent("dl"))
        assert len(described) > len(shown) or entry.text in {e.text for e in listed if e != entry}
    whole = text_of(entries_by_id[f"{cls.__module__}.{cls.__name__}"].find_parent("dl"))
    for entry in entries:  # those of the contract at least by name
        assert entry.name in whole


def test_no_type_or_return_type_is_made_up(pages):
    fields = {text_of(tag) for page in pages.values() for tag in page.select("dl.field-list > dt")}
    assert {"Parameters:", "Returns:"} < fields <= {"Parameters:", "Raises:", "Returns:", "Yields:"}


def test_the_overview_leads_to_every_page(pages):
    links = {link["href"].removesuffix(".html") for link in pages[OVERVIEW].select("a[href]")}
    assert len(PAGES) > 4 and {name.removeprefix("book/") for name in PAGES} <= links


def test_a_module_stands_on_one_page(pages):
    found: dict[str, set] = {}
    for name, page in pages.items():
        for tag in page.select("dt.sig[id^=minigan]"):
            module = tag["id"].removeprefix("minigan.").split(".")[0]
            found.setdefault(module, set()).add(name)
    assert {module: names for module, names in found.items() if len(names) > 1} == {}
    listed = {code.text for code in pages[OVERVIEW].select("td:last-child code")}
    assert len(listed) > 10 and listed <= found.keys()


def test_no_name_stands_twice(pages):
    names = [tag["id"] for page in pages.values() for tag in page.select("dt.sig[id]")]
    assert len(names) > 200 and len(names) == len(set(names))


def test_fields_under_one_comment_share_its_text():
    lines = plain_docstrings.describe_parameters(minigan.YGAN)
    text = "\n".join(lines)
    assert text.count("Weights of the losses in Eq. 10") == 1
    assert text.index("lambda_con") < text.index("Weights of the losses in Eq. 10") < text.index(":: lr")
    assert "Hyperparameters of :py:class:`Detector <minigan.detector.Detector>`: ``contamination``" in text
    assert "'L_rec': {'Dec', 'E_r', 'E_s'}" in text  # sets have an order, the same in every build


@pytest.mark.parametrize(
    "line", ["* a list with *words*, |x| and history_", "    * a list with *words*, |x| and history_"]
)
def test_a_bullet_stays_a_bullet(line):
    indent = line[: line.index("*")]
    assert plain_docstrings.to_rst(line) == indent + r"* a list with *words*, \|x\| and history\_"
