"""Beyond the papers: every method on one split of MNIST, with contamination, and tiles split at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minigan.tables.adegan import TABLE_1 as ADEGAN_1
from minigan.tables.agad import TABLE_1 as AGAD_1
from minigan.tables.agad import agad_runs
from minigan.tables.algan import TABLE_3 as ALGAN_3
from minigan.tables.algan import flipped_settings
from minigan.tables.cells import Cell
from minigan.tables.settings import (
    BASELINES,
    baselines,
    compared,
    dataset_grid,
    hyperparameters,
    two_budgets,
)
from minigan.tables.simultaneous_encoder import SCORES, encoder_runs
from minigan.tables.simultaneous_encoder import TABLE_2 as SIMULTANEOUS_ENCODER_2
from minigan.tables.ygan import LEAVE_ONE_OUT
from minigan.tables.ygan import TABLE_1 as YGAN_1
from minigan.tables.ygan import TABLE_2 as YGAN_2
from minigan.tables.ygan import TABLE_3 as YGAN_3

#: Fractions of anomalies among the training images, the most widely spaced first: a sweep that is stopped has
#: then seen the whole range.
CONTAMINATIONS = (0.0, 0.02, 0.1, 0.005, 0.01, 0.05, 0.2)


def _mnist(budget: str) -> Iterator[Cell]:
    """Every method on the splits of Y-GAN's and ADe-GAN's Table 1, whose cells it includes."""
    yield from YGAN_1.cells(budget)
    yield from (cell for cell in ADEGAN_1.cells(budget) if cell.table == ADEGAN_1.name)
    # Nine classes have nine times the images of one, hence fewer passes.
    few = {"epochs": 15} if budget == "quick" else {}
    runs = {("ALGAN", ""): hyperparameters(budget, "ALGAN", "mnist", **few)}
    runs |= agad_runs(budget, "mnist", {"generator=naive": {"generator": "naive"} | few})
    runs |= encoder_runs(budget, "mnist", SCORES)
    runs |= {("KernelDensity", ""): {}, ("OneClassSVM", ""): {}}
    yield from dataset_grid(budget, "mnist", "mnist", "leave_one_out", runs)


MNIST = two_budgets("mnist", "Every method on MNIST, one digit left out", _mnist)


def _contamination(budget: str) -> Iterator[Cell]:
    """Cars of CIFAR-10, with more and more anomalies among the training images.

    The simultaneous encoder's Table 2 has some of these runs already.
    """
    dataset = "cifar10"
    # One class of CIFAR-10 has a ninth of the images that the other tables train on, hence more passes.
    many = {"epochs": 60} if budget == "quick" else {}
    runs = encoder_runs(budget, dataset, SCORES)
    runs["ALGAN", ""] = hyperparameters(budget, "ALGAN", dataset, **many)
    runs |= agad_runs(budget, dataset, {"generator=naive": {"generator": "naive"}})
    runs["ADeGAN", ""] = hyperparameters(budget, "ADeGAN", dataset, **many)
    for method in ("YGAN", "SoftmaxClassifier"):
        settings = hyperparameters(budget, method, dataset, labels="cluster", **many)
        runs[method, "labels=cluster"] = settings
    runs |= compared(budget, dataset, "contaminated", ("FAnoGAN", "GANomaly", "PatchCore", "DN2"))
    runs |= baselines(budget, dataset)
    shared = [cell for cell in SIMULTANEOUS_ENCODER_2.cells(budget) if cell.dataset == dataset]
    yield from shared
    there = {(cell.gamma, cell.method, cell.label) for cell in shared}
    for cell in dataset_grid(
        budget,
        "contamination",
        dataset,
        "contaminated",
        runs,
        targets=["automobile"],
        gammas=CONTAMINATIONS,
    ):
        if (cell.gamma, cell.method, cell.label) not in there:
            yield cell


CONTAMINATION = two_budgets(
    "contamination", "More and more anomalies in the training set: every method", _contamination
)


def _tiles(budget: str) -> Iterator[Cell]:
    """Magnetic tiles split by tile, as in `algan-3`, and photograph by photograph, as in the paper."""
    compared_here = {"ALGAN", *BASELINES}
    yield from (cell for cell in ALGAN_3.cells(budget) if cell.method in compared_here)
    label = "random split"
    runs: dict[tuple[str, str], dict[str, Any]] = {("ALGAN", label): flipped_settings(budget, "mtd")}
    settings = baselines(budget, "mtd")
    runs |= {(method, label): settings[method, ""] for method in BASELINES}
    yield from dataset_grid(budget, "mtd-split", "mtd", "defects", runs, options={"by_tile": False})


MTD_SPLIT = two_budgets("mtd-split", "Magnetic tiles, split tile by tile or at random", _tiles)

#: The control for every reconstruction error: how bright the image is.
BRIGHTNESS: dict[tuple[str, str], dict[str, Any]] = {("Brightness", ""): {}}
#: ADe-GAN's scores that are errors: the plain one, and divided by the amount of ink.
ERRORS = ("error", "error_over_ink")


def _light_left_out(budget: str) -> Iterator[Cell]:
    """One class left out: errors of a reconstruction beside the brightness alone, on the same splits."""
    for dataset, table in zip(LEAVE_ONE_OUT.values(), (YGAN_1, YGAN_2, YGAN_3), strict=True):
        yield from (cell for cell in table.cells(budget) if cell.label == "scored_by=image")
        runs = dict(BRIGHTNESS)
        if dataset == "mnist":
            for score in ERRORS:
                settings = hyperparameters(budget, "ADeGAN", dataset, scored_by=score)
                runs["ADeGAN", f"scored_by={score}"] = settings
        yield from dataset_grid(budget, "brightness-left-out", dataset, "leave_one_out", runs)


BRIGHTNESS_LEFT_OUT = two_budgets(
    "brightness-left-out", "Reconstruction errors and brightness alone, one class left out", _light_left_out
)


def _light_one_class(budget: str) -> Iterator[Cell]:
    """One class normal: AGAD's error beside the brightness alone, on the same splits."""
    yield from (cell for cell in AGAD_1.cells(budget) if cell.method == "AGAD")
    for dataset in dict.fromkeys(cell.dataset for cell in AGAD_1.cells(budget)):
        yield from dataset_grid(budget, "brightness-one-class", dataset, "one_class", BRIGHTNESS)


BRIGHTNESS_ONE_CLASS = two_budgets(
    "brightness-one-class", "Reconstruction errors and brightness alone, one class normal", _light_one_class
)
