"""The question of the book: counting wins, the box, and that each chapter which teaches has it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from helpers import raises_sentence

from minigan import spine, tables

ROOT = Path(__file__).parents[1]
TEACHING = ("Start here", "Intuition in two dimensions", "The methods")


def chapters() -> list[str]:
    """Notebooks of the parts that teach methods, in the book's order."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = [c["file"] for part in parts if part["caption"] in TEACHING for c in part["chapters"]]
    return [file for file in files if (ROOT / f"{file}.ipynb").exists()]


@pytest.mark.parametrize("file", chapters())
def test_a_chapter_takes_up_the_question_from_computed_values(file):
    cells = json.loads((ROOT / f"{file}.ipynb").read_text(encoding="utf-8"))["cells"]
    [cell] = [c for c in cells if "spine.box(" in "".join(c["source"])]
    assert "{" in "".join(cell["source"]), "a value of this chapter, and not typed"
    html = "".join(cell["outputs"][0]["data"]["text/html"])
    assert BeautifulSoup(html, "html.parser").select_one(".spine .admonition-title").text == spine.QUESTION
    after = "".join(next(c["source"] for c in cells[cells.index(cell) + 1 :] if c["cell_type"] == "markdown"))
    assert after.startswith("## Where to go next") or file == "book/which_detector"


def test_welcome_asks_it():
    text = (ROOT / "book/intro.ipynb").read_text(encoding="utf-8")
    assert f"```{{admonition}} {spine.QUESTION}" in text and "{doc}`which_detector` counts" in text


def test_a_box_shows_any_text_as_it_is():
    box = spine.box("<b>D & G</b>")
    assert BeautifulSoup(box._repr_html_(), "html.parser").select("p")[1].text == "<b>D & G</b>"
    assert repr(box) == f"{spine.QUESTION} <b>D & G</b>"


@pytest.fixture
def recorded(monkeypatch):
    """Records in which the network wins one of two splits; on a third two simple methods have a run."""
    rows, aurocs_of = [], {"1": (0.7, 0.8, 0.6, 0.9), "2": (0.7, 0.8, 0.95, 0.9), "3": (0.5, None, 0.5, 1.0)}
    for target, aurocs in aurocs_of.items():
        for method, auroc in zip((*tables.CLASSICAL[:3], "ALGAN"), aurocs, strict=True):
            where = {"dataset": "digits", "options": "", "protocol": "one_class", "gamma": 0.0, "seed": 0}
            rows.append({**where, "target": target, "method": method, "label": "", "auroc": auroc})
    monkeypatch.setattr(spine.records, "results", lambda name, folder: pd.DataFrame(rows))


def test_a_win_is_over_the_best_simple_method_on_the_same_split(recorded):
    found = spine.wins("digits", method="ALGAN")
    assert found[:2] == (1, 2) and found.difference == pytest.approx((0.1 - 0.05) / 2)
    assert str(found) == "on 1 of 2 splits (mean difference +0.025)"


def test_a_run_in_two_tables_counts_once(recorded):
    assert spine.wins("digits", "family-digits", method="ALGAN", protocol="one_class", label="").splits == 2


def test_no_run_to_count(recorded):
    with raises_sentence(ValueError, "expected runs of YGAN and of 3 simple methods", "got none in digits"):
        spine.wins("digits", method="YGAN")
    with raises_sentence(ValueError, "got none in digits"):
        spine.wins("digits", method="ALGAN", protocol="leave_one_out")
