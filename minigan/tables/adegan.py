"""The tables of ADe-GAN's paper: one digit left out, the number of patterns, two more data sets.

The classical baselines are those of Y-GAN's tables, where protocol and splits are the same. Methods of the
paper that are not in minigan have no cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minigan.tables.cells import Cell
from minigan.tables.settings import (
    BASELINES,
    all_budgets,
    compared,
    dataset_grid,
    hyperparameters,
    two_budgets,
)
from minigan.tables.ygan import TABLE_1 as YGAN_1

#: Patterns in Table 1, and the other numbers that Table 2 tries.
N_PATTERNS = 10
OTHER_N_PATTERNS = (2, 4, 6, 8, 12, 14)
#: The other methods of Table 1, and those whose runs on the same splits are in Y-GAN's Table 1.
COMPARED = ("AnoGAN", "EGBAD", "GPND", "MemAE")
BORROWED = ("GANomaly", *BASELINES)


def _runs(budget: str, dataset: str, counts: Iterable[int]) -> dict[tuple[str, str], dict[str, Any]]:
    """ADe-GAN with each of these numbers of patterns."""
    return {
        ("ADeGAN", f"n_patterns={count}"): hyperparameters(budget, "ADeGAN", dataset, n_patterns=count)
        for count in counts
    }


def _mnist(budget: str) -> Iterator[Cell]:
    """Table 1: MNIST, each digit left out in turn."""
    runs = _runs(budget, "mnist", [N_PATTERNS]) | compared(budget, "mnist", "leave_one_out", COMPARED)
    yield from dataset_grid(budget, "adegan-1", "mnist", "leave_one_out", runs)
    yield from (cell for cell in YGAN_1.cells(budget) if cell.method in BORROWED)


TABLE_1 = all_budgets("adegan-1", "ADe-GAN, Table 1: MNIST, one digit left out", _mnist, ("adegan", 1))


def _patterns(budget: str) -> Iterator[Cell]:
    """Table 2: the mean over the ten digits for each number of patterns; that of ten is Table 1."""
    yield from (cell for cell in TABLE_1.cells(budget) if cell.method == "ADeGAN")
    runs = _runs(budget, "mnist", OTHER_N_PATTERNS)
    yield from dataset_grid(budget, "adegan-2", "mnist", "leave_one_out", runs)


TABLE_2 = two_budgets("adegan-2", "ADe-GAN, Table 2: two to fourteen patterns", _patterns, ("adegan", 2))


def _two_more(budget: str) -> Iterator[Cell]:
    """Figure 3: Fashion-MNIST and CIFAR-10, one class left out. The paper prints no numbers of it."""
    for dataset in ("fashion_mnist", "cifar10"):
        runs = _runs(budget, dataset, [N_PATTERNS])
        yield from dataset_grid(budget, "adegan-figure-3", dataset, "leave_one_out", runs)


FIGURE_3 = two_budgets("adegan-figure-3", "ADe-GAN, Figure 3: Fashion-MNIST and CIFAR-10", _two_more)
