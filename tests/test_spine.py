"""The question of the book: counting wins, the box, and that each chapter which teaches has it."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from helpers import raises_sentence

from minigan import spine, tables
from minigan.experiments import records

ROOT = Path(__file__).parents[1]
TEACHING = ("Start here", "Intuition in two dimensions", "The methods")
RESULTS = ("In practice", "Full scale", "Reproducing the papers")
#: Chapters that compare no networks with simple methods: a sentence leads to those that do.
ONE_SENTENCE = {"your_images", "thresholds", "add_your_own", "full_medical", "accident"}


def chapters(*captions: str) -> list[str]:
    """Notebooks of some parts, in the book's order."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = [c["file"] for part in parts if part["caption"] in captions for c in part["chapters"]]
    return [file for file in files if (ROOT / f"{file}.ipynb").exists()]


WITH_A_BOX = [file for file in chapters(*TEACHING, *RESULTS) if Path(file).name not in ONE_SENTENCE]


@pytest.mark.parametrize("file", WITH_A_BOX)
def test_a_chapter_takes_up_the_question_from_computed_values(file):
    cells = json.loads((ROOT / f"{file}.ipynb").read_text(encoding="utf-8"))["cells"]
    [cell] = [c for c in cells if "spine.box(" in "".join(c["source"])]
    assert "{" in "".join(cell["source"]), "a value of this chapter, and not typed"
    html = "".join(cell["outputs"][0]["data"]["text/html"])
    assert BeautifulSoup(html, "html.parser").select_one(".spine .admonition-title").text == spine.QUESTION
    after = "".join(next(c["source"] for c in cells[cells.index(cell) + 1 :] if c["cell_type"] == "markdown"))
    last = {"book/which_detector", "book/what_holds"}
    assert after.startswith("## Where to go next") or file in last


@pytest.mark.parametrize("name", sorted(ONE_SENTENCE))
def test_other_chapters_lead_to_those_that_answer(name):
    cells = json.loads((ROOT / f"book/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    prose = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    (paragraph,) = [p for p in prose.split("\n\n") if "a GAN beat the simple methods" in p]
    assert paragraph.startswith("**") and "{doc}`" in paragraph


def aurocs(name: str, **wanted: str) -> pd.Series:
    """AUROCs of a table's runs with these values in their columns."""
    runs = records.results(name).dropna(subset=["auroc"])
    for column, value in wanted.items():
        runs = runs[runs[column] == value]
    return runs["auroc"]


def test_what_the_boxes_say_in_words_holds_in_the_records():
    def fraction(*names, **chosen):
        found = spine.wins(*names, **chosen)
        return found.better / found.compared

    dirty, gans = "simultaneous-encoder-digits", ("ALGAN", "AGAD", "ADeGAN", "SimultaneousEncoder")
    assert fraction(dirty, method="ALGAN") == fraction(dirty, method="YGAN") == 0  # dirty_data
    assert fraction("digits", method="ALGAN") < 0.1  # what_does_it_cost: "it would have to win often"
    both = ("mnist", "one-class", "ygan-1", "ygan-2", "adegan-1")  # full_digits: "the labels did most of it"
    unlabelled, labelled = fraction(*both, method=gans), fraction(*both, method="SoftmaxClassifier")
    assert unlabelled < fraction(*both, method="YGAN", label="") <= labelled
    parts = ("algan-1", "algan-2", "algan-3", "algan-4", "mtd-split")  # full_industrial
    features = fraction(*parts, method=("PaDiM", "PatchCore", "Mahalanobis", "DN2"))
    assert fraction(*parts, method="ALGAN") == 0 and features > 0.5
    labels = [spine.wins("ygan-4", method=m, label="") for m in ("YGAN", "SoftmaxClassifier")]  # full_leaves
    assert all(found.better == found.compared < 10 for found in labels)
    assert spine.wins("adegan-1", method="ADeGAN").better == 0  # reproduce_adegan
    ours = aurocs("simultaneous-encoder-2", label="scored_by=proposed")  # a win among guesses
    assert (
        ours.max() < 0.6
        and spine.wins("simultaneous-encoder-digits", method="SimultaneousEncoder").better == 0
    )
    cifar = [aurocs(name, dataset="cifar10", method=m) for name in ("agad-1", "contamination") for m in gans]
    assert abs(pd.concat(cifar).mean() - 0.5) < 0.1  # full_cifar: "one half is guessing"


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


def test_several_methods_are_compared_on_one_split_each(recorded):
    found = spine.wins("digits", method=("ALGAN", "PCA"))
    assert found[:2] == (1, 4) and found.splits == 2
    assert str(found).startswith("in 1 of 4 comparisons on 2 splits (mean difference ")


def test_no_run_to_count(recorded):
    with raises_sentence(ValueError, "expected runs of YGAN and of 3 simple methods", "got none in digits"):
        spine.wins("digits", method="YGAN")
    for other in ({"protocol": "leave_one_out"}, {"dataset": "mnist"}):
        with raises_sentence(ValueError, "got none in digits"):
            spine.wins("digits", method="ALGAN", **other)
    assert spine.wins("digits", method="ALGAN", dataset="digits").splits == 2
