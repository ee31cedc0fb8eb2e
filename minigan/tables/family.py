"""Every method that the papers compare themselves with, side by side: on digits, on MNIST and on clothes.

The five papers' own methods and the classical ones have these splits in the tables of `digits.py` and of
AGAD's paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minigan.tables.agad import TABLE_1 as AGAD_1
from minigan.tables.agad import WIDTHS
from minigan.tables.cells import SEEDS, Cell, Table, grid
from minigan.tables.digits import AGAD_SETTINGS, GENERATORS
from minigan.tables.settings import (
    NETWORKS,
    NINE_CLASSES,
    PRETRAINED,
    QUICK,
    SMALL_INPUT,
    compared,
    dataset_grid,
    hyperparameters,
    two_budgets,
)
from minigan.tables.simultaneous_encoder import encoder_runs

#: A digit has a quarter of the images that the quick budget has of a class, so networks get twice the passes.
MORE_PASSES = 2
#: Other numbers of passes over one digit. EGBAD gets worse on so few images if it is trained for longer.
ONE_DIGIT: dict[str, dict[str, int]] = {"EGBAD": {"epochs": 40}}
#: Fraction of labelled anomalies, for the methods that learn from some.
GAMMA = 0.05


def _settings(method: str, protocol: str) -> dict[str, Any]:
    """Hyperparameters on digits, with passes for the images that a split has."""
    settings = dict(QUICK.get(method, {}))
    if method in PRETRAINED:
        return settings | {"input_size": SMALL_INPUT}
    if protocol == "leave_one_out":
        nine = NINE_CLASSES.get(method) or {"epochs": settings["epochs"] // 5}
        return settings | {name: MORE_PASSES * passes for name, passes in nine.items()}
    passes = ("epochs", "encoder_epochs")
    longer = {name: MORE_PASSES * settings[name] for name in passes if name in settings}
    return settings | longer | ONE_DIGIT.get(method, {})


def _family_digits() -> Iterator[Cell]:
    """Both protocols, ten digits, three seeds; ADGAN with AGAD's smallest generator, which takes a third."""
    for seed in SEEDS:
        for protocol in ("one_class", "leave_one_out"):
            runs = {(name, ""): _settings(name, protocol) for name in NETWORKS + PRETRAINED}
            runs["ADGAN", ""] |= {"generator": "naive", "width": WIDTHS["naive"]}
            yield from grid("family-digits", runs, "digits", {"size": 16}, protocol, range(10), seeds=[seed])


FAMILY_DIGITS = Table(
    "family-digits", "Handwritten digits: the methods that the papers compare with", _family_digits
)


def _labelled_digits() -> Iterator[Cell]:
    """One digit normal, and a few labelled anomalies of the others."""
    agad = AGAD_SETTINGS | GENERATORS["naive"]
    runs = {("DeepSAD", ""): QUICK["DeepSAD"], ("AGAD", "naive"): agad}
    return grid("labelled-digits", runs, "digits", {"size": 16}, "supervised", range(10), gammas=[GAMMA])


LABELLED_DIGITS = Table(
    "labelled-digits", "Handwritten digits: Deep SAD and AGAD with labelled anomalies", _labelled_digits
)


def _one_class(budget: str) -> Iterator[Cell]:
    """One class of MNIST or of clothes normal: AGAD's Table 1, and all methods that it has not."""
    for dataset in ("mnist", "fashion_mnist"):
        there = [cell for cell in AGAD_1.cells(budget) if cell.dataset == dataset]
        yield from there
        methods = [m for m in NETWORKS + PRETRAINED if m not in {cell.method for cell in there}]
        runs = compared(budget, dataset, "one_class", methods)
        runs |= {(m, ""): hyperparameters(budget, m, dataset) for m in ("ALGAN", "ADeGAN")}
        runs |= encoder_runs(budget, dataset, ["proposed"])
        yield from dataset_grid(budget, "one-class", dataset, "one_class", runs)


ONE_CLASS = two_budgets("one-class", "One class of MNIST or of clothes: every method", _one_class)
