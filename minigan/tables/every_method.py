"""Beyond the papers: every method on one split of MNIST, with contamination, and tiles split at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minigan.tables.adegan import TABLE_1 as ADEGAN_1
from minigan.tables.agad import agad_runs
from minigan.tables.algan import TABLE_3 as ALGAN_3
from minigan.tables.algan import flipped_settings
from minigan.tables.cells import Cell
from minigan.tables.settings import BASELINES, baselines, dataset_grid, hyperparameters, two_budgets
from minigan.tables.simultaneous_encoder import SCORES, encoder_runs
from minigan.tables.ygan import TABLE_1 as YGAN_1

#: Fractions of anomalies among the training images, the most widely spaced first: a sweep that is stopped has
#: then seen the whole range.
CONTAMINATIONS = (0.0, 0.02, 0.1, 0.005, 0.01, 0.05, 0.2)


def _mnist(budget: str) -> Iterator[Cell]:
    """Every method on the splits of Y-GAN's and ADe-GAN's Table 1, whose cells it includes."""
    yield from YGAN_1.cells(budget)
    yield from ADEGAN_1.cells(budget)
    # Nine classes have nine times the images of one, hence fewer passes.
    few = {"epochs": 15} if budget == "quick" else {}
    runs = {("ALGAN", ""): hyperparameters(budget, "ALGAN", "mnist", **few)}
    runs |= agad_runs(budget, "mnist", {"generator=naive": {"generator": "naive"} | few})
    runs |= encoder_runs(budget, "mnist", SCORES)
    runs |= {("KernelDensity", ""): {}, ("OneClassSVM", ""): {}}
    yield from dataset_grid(budget, "mnist", "mnist", "leave_one_out", runs)


MNIST = two_budgets("mnist", "Every method on MNIST, one digit left out", _mnist)


def _contamination(budget: str) -> Iterator[Cell]:
    """Cars of CIFAR-10, with more and more anomalies among the training images."""
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
    runs |= baselines(budget, dataset)
    return dataset_grid(
        budget,
        "contamination",
        dataset,
        "contaminated",
        runs,
        targets=["automobile"],
        gammas=CONTAMINATIONS,
    )


CONTAMINATION = two_budgets(
    "contamination", "More and more anomalies in the training set: every method", _contamination
)


def _tiles(budget: str) -> Iterator[Cell]:
    """Magnetic tiles split by tile, as in `algan-3`, and photograph by photograph, as in the paper."""
    yield from ALGAN_3.cells(budget)
    label = "random split"
    runs: dict[tuple[str, str], dict[str, Any]] = {("ALGAN", label): flipped_settings(budget, "mtd")}
    settings = baselines(budget, "mtd")
    runs |= {(method, label): settings[method, ""] for method in BASELINES}
    yield from dataset_grid(budget, "mtd-split", "mtd", "defects", runs, options={"by_tile": False})


MTD_SPLIT = two_budgets("mtd-split", "Magnetic tiles, split tile by tile or at random", _tiles)
