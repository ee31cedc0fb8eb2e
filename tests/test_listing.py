"""Source code as a chapter shows it: without docstrings, with marks for equations, the same as text."""

import re

import pytest
from bs4 import BeautifulSoup
from helpers import raises_sentence

from minigan import ALGAN, agad, algan, listing, losses
from minigan.listing import show_source


def rows(shown: listing.Listing) -> list[str]:
    """The lines that a reader sees, without the marks beside them."""
    page = BeautifulSoup(shown.html, "html.parser")
    return [row.get_text().rstrip("\n") for row in page.select(".src")]


def marks(shown: listing.Listing) -> list[tuple[str, str]]:
    """Of each mark: its classes, and what it says."""
    found = BeautifulSoup(shown.html, "html.parser").select(".eq")
    return [(" ".join(mark["class"]), mark.get_text()) for mark in found]


def documented(x: int) -> int:
    """First line, Eq. 7.

    Args:
        x: a number (Eq. 9 to 11).
    """
    text = """a string
    of two lines, <b>not</b> markup"""

    def inner() -> str:
        """Its own docstring, Eq. 3."""
        return text  # Eq. 4, 5: returned

    return x + len(inner())


class Empty:
    """Nothing but this."""


def test_docstrings_are_left_out_and_nothing_else():
    shown = show_source(documented)
    assert repr(shown).splitlines() == [
        "def documented(x: int) -> int:",
        '    text = """a string',
        '    of two lines, <b>not</b> markup"""',
        "",
        "    def inner() -> str:",
        "        return text  # Eq. 4, 5: returned",
        "",
        "    return x + len(inner())",
    ]
    assert "<b>" not in shown.html  # what stands in the code is no markup
    for seen, line in zip(rows(shown), repr(shown).splitlines(), strict=True):
        assert re.sub(r"( Eq\. \d+)+$", "", seen) == line  # it can be copied as it is


def test_equations_are_marked_by_number():
    assert marks(show_source(documented)) == [
        *[(f"eq eq-{number}", f"Eq. {number}") for number in (7, 9, 10, 11)],  # beside the name
        ("eq eq-3", "Eq. 3"),
        ("eq eq-4", "Eq. 4, 5"),  # in the comment
    ]


def test_the_losses_of_a_chapter_have_the_marks_of_its_text():
    shown = show_source(agad.L_con, agad.L_adcon)
    assert [name for name, _ in marks(shown)] == ["eq eq-6", "eq eq-8"]
    assert "\n\ndef L_adcon" in repr(shown)


@pytest.mark.parametrize("method", [ALGAN.training_step, ALGAN.latents, algan.loss_D, losses.bce_real])
def test_methods_stand_at_the_margin_and_can_be_read_as_code(method):
    code = repr(show_source(method))
    assert code.startswith(f"def {method.__name__}(")
    compile(code, "listing", "exec")
    assert '"""' not in code


def test_a_line_that_does_not_fit_hangs_below_its_own_beginning():
    page = BeautifulSoup(show_source(documented).html, "html.parser")
    hangs = [row["style"] for row in page.select(".src")]
    assert hangs[0] == "--hang: 4ch" and hangs[5] == "--hang: 12ch"


def test_a_body_of_a_docstring_alone_stays():
    assert repr(show_source(Empty)) == 'class Empty:\n    """Nothing but this."""'


def test_mistakes_get_a_sentence():
    with raises_sentence(ValueError, "expected a function to show, got none"):
        show_source()
    with raises_sentence(ValueError, "expected a function, method or class written in Python, got <built-in"):
        show_source(len)
