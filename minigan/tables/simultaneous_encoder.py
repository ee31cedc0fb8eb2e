"""The tables of the simultaneous encoder's paper: five scores with contamination, what trains the encoder.

f-AnoGAN stands there twice: with networks of its own, and as a score on the simultaneous encoder's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minigan.tables.cells import Cell
from minigan.tables.settings import (
    all_budgets,
    baselines,
    compared,
    dataset_grid,
    hyperparameters,
    two_budgets,
)

#: The scores of Table 2: values of `scored_by`, the default first, and what the table calls them.
SCORES = {
    "proposed": "proposed",
    "origin": "L_o",
    "residual": "L_n",
    "residual_raw": "L_r",
    "f_anogan": "A",
}
#: The scores of Table 1, which compares distances between images (the default) and between latents as the
#: loss of the encoder.
SCORES_1 = ("residual", "origin", "proposed")
LATENT_LOSS = {"encoder_loss": "latent"}


def encoder_runs(
    budget: str, dataset: str, scores: Iterable[str], **varied: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    """The simultaneous encoder with each of these scores; labels repeat what is varied, then the score."""
    runs = {}
    for score in scores:
        settings = varied | {"scored_by": score}
        label = ",".join(f"{name}={value}" for name, value in settings.items())
        runs["SimultaneousEncoder", label] = hyperparameters(
            budget, "SimultaneousEncoder", dataset, **settings
        )
    return runs


def _contaminated(budget: str) -> Iterator[Cell]:
    """Table 2: cars of CIFAR-10 and living cells, with and without 2 % of anomalies in the training set."""
    for dataset, target in (("cifar10", "automobile"), ("kth_cellvideos", "normal")):
        yield from dataset_grid(
            budget,
            "simultaneous-encoder-2",
            dataset,
            "contaminated",
            encoder_runs(budget, dataset, SCORES)
            | compared(budget, dataset, "contaminated", ["FAnoGAN"])
            | baselines(budget, dataset),
            targets=[target],
            gammas=(0.0, 0.02),
        )


TABLE_2 = all_budgets(
    "simultaneous-encoder-2",
    "Simultaneous encoder, Table 2: cars and cells, contaminated",
    _contaminated,
    ("simultaneous_encoder", 2),
)


def _encoder_losses(budget: str) -> Iterator[Cell]:
    """Table 1: image distance, as in Table 2 without contamination, against latent distance; three scores."""
    dataset = "kth_cellvideos"
    by_image = encoder_runs(budget, dataset, SCORES_1)
    for cell in TABLE_2.cells(budget):
        if cell.dataset == dataset and (cell.method, cell.label) in by_image and not cell.gamma:
            yield cell
    by_latent = encoder_runs(budget, dataset, SCORES_1, **LATENT_LOSS)
    yield from dataset_grid(budget, "simultaneous-encoder-1", dataset, "contaminated", by_latent)


TABLE_1 = two_budgets(
    "simultaneous-encoder-1",
    "Simultaneous encoder, Table 1: what trains the encoder, on cells",
    _encoder_losses,
    ("simultaneous_encoder", 1),
)
