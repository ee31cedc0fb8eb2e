"""The tables of Y-GAN's paper: one class left out, healthy and diseased leaves, ablations, seven scores.

Not declared: Table 4's rates for each species, and the other reading of its "mean AUC values over all
classes", which follow from the scores of the same runs: records have the AUROC over all leaves together,
`metrics.mean_auroc` gives the mean over species. Methods of the paper that are not in minigan have no cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
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

#: The data sets of Tables 1 to 3, in each of which one class is left out of the training set in turn.
LEAVE_ONE_OUT = {1: "mnist", 2: "fashion_mnist", 3: "cifar10"}
#: Section 4.2: four fifths of the healthy leaves are trained on, and all others are tested.
LEAVES_SPLIT: dict[str, Any] = {"training": 0.8, "validation": 0}
#: The other methods of Tables 1 to 4.
COMPARED = ("GANomaly", "SkipGANomaly", "OCGAN", "FAnoGAN", "ARNet", "PaDiM")
#: Scores of section 6.3, compared in Figure 8, that need no training of their own. The sixth besides the
#: default "softmax" is "weak_prototype", which makes clusters before the training.
OTHER_SCORES = ("image", "latent", "semantic", "prototype", "entropy")
#: The ablations of Table 5, by the paper's names: `YGAN(**ABLATIONS["A1"])`.
ABLATIONS: dict[str, dict[str, Any]] = {
    "A1": {"lambda_con": 0.0},
    "A2": {"lambda_r": 0.0},
    "A3": {"lambda_r": 0.0, "lambda_con": 0.0},
    "B1": {"encoder": "split"},
    "B2": {"encoder": "single"},
    "B3": {"encoder": "single", "lambda_s": 0.0, "scored_by": "image"},
    "B4": {"lambda_adv": 0.0},
}
#: The released code as far as it can be switched: `YGAN(**RELEASED)`. Above 64 pixels its widths are larger,
#: too, since nothing caps them: `max_width`.
RELEASED: dict[str, Any] = {
    "detach_features": True,
    "consistency": "released",
    "shuffles": 64,
    "lambda_bce": 0.5,
    "reset_below": 1e-5,
    "hidden_slope": 0.01,
    "batch_statistics": True,
}
#: The order of batch norm that section 4.3 describes.
NORM_AFTER: dict[str, Any] = {"norm": "after"}


def _ygan_and_baselines(
    budget: str, dataset: str, scores: tuple[str, ...] = ()
) -> dict[tuple[str, str], dict[str, Any]]:
    """Y-GAN, a plain classifier with the same labels, Y-GAN's further `scores`, and the baselines."""
    runs = {
        ("YGAN", ""): hyperparameters(budget, "YGAN", dataset),
        ("SoftmaxClassifier", ""): hyperparameters(budget, "SoftmaxClassifier", dataset),
    }
    for score in scores:
        runs["YGAN", f"scored_by={score}"] = hyperparameters(budget, "YGAN", dataset, scored_by=score)
    return runs | baselines(budget, dataset)


def _one_left_out(number: int, budget: str) -> Iterator[Cell]:
    """Tables 1 to 3. Five of Figure 8's scores are measured here, too, because they share the training."""
    dataset = LEAVE_ONE_OUT[number]
    runs = _ygan_and_baselines(budget, dataset, OTHER_SCORES)
    runs |= compared(budget, dataset, "leave_one_out", COMPARED)
    return dataset_grid(budget, f"ygan-{number}", dataset, "leave_one_out", runs)


TABLE_1 = all_budgets(
    "ygan-1", "Y-GAN, Table 1: MNIST, one digit left out", partial(_one_left_out, 1), ("ygan", 1)
)
TABLE_2 = two_budgets(
    "ygan-2", "Y-GAN, Table 2: Fashion-MNIST, one class left out", partial(_one_left_out, 2), ("ygan", 2)
)
TABLE_3 = two_budgets(
    "ygan-3", "Y-GAN, Table 3: CIFAR-10, one class left out", partial(_one_left_out, 3), ("ygan", 3)
)


def _leaves(budget: str) -> Iterator[Cell]:
    """Table 4: the kinds of healthy leaves are the sub-classes, diseased leaves the anomalies."""
    runs = _ygan_and_baselines(budget, "plantvillage")
    runs |= compared(budget, "plantvillage", "defects", COMPARED)
    return dataset_grid(budget, "ygan-4", "plantvillage", "defects", runs, split=LEAVES_SPLIT)


TABLE_4 = two_budgets("ygan-4", "Y-GAN, Table 4: healthy and diseased leaves", _leaves, ("ygan", 4))


def _full_ygan(budget: str) -> list[Cell]:
    """Y-GAN's own cells of Tables 1 to 4, which Tables 5 and 6 repeat."""
    tables = (TABLE_1, TABLE_2, TABLE_3, TABLE_4)
    cells = [cell for table in tables for cell in table.cells(budget)]
    return [cell for cell in cells if cell.method == "YGAN" and not cell.label]


def _variants(budget: str, table: str, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[Cell]:
    """Variants of Y-GAN, {label: hyperparameters}, on the data sets of Tables 1 to 4."""
    for dataset in (*LEAVE_ONE_OUT.values(), "plantvillage"):
        runs = {
            ("YGAN", label): hyperparameters(budget, "YGAN", dataset, **variant)
            for label, variant in variants.items()
        }
        leaves = dataset == "plantvillage"
        protocol, split = ("defects", LEAVES_SPLIT) if leaves else ("leave_one_out", {})
        yield from dataset_grid(budget, table, dataset, protocol, runs, split=split)


def _ablations(budget: str) -> Iterator[Cell]:
    """Table 5: Y-GAN without each of its parts, beside the full one of Tables 1 to 4."""
    variants = {f"ablation={name}": settings for name, settings in ABLATIONS.items()}
    yield from _full_ygan(budget)
    yield from _variants(budget, "ygan-5", variants)


TABLE_5 = all_budgets("ygan-5", "Y-GAN, Table 5: ablations", _ablations, ("ygan", 5))


def _clusters(budget: str) -> Iterator[Cell]:
    """Table 6: sub-classes from clustering, beside the true ones of Tables 1 to 4."""
    variant: dict[str, Any] = {"labels": "cluster"}
    if budget == "quick":  # a network that is installed with its weights, in place of EfficientNet-B4
        variant |= {"cluster_features": "imagenet", "cluster_backbone": "efficientnet_lite0"}
    yield from _full_ygan(budget)
    yield from _variants(budget, "ygan-6", {"labels=cluster": variant})


TABLE_6 = two_budgets("ygan-6", "Y-GAN, Table 6: labels from clustering", _clusters, ("ygan", 6))


def _scores(budget: str) -> Iterator[Cell]:
    """Figure 8: "weak_prototype" beside the six scores that Tables 1 to 3 have measured already.

    The paper prints no numbers of this figure.
    """
    for table, dataset in zip((TABLE_1, TABLE_2, TABLE_3), LEAVE_ONE_OUT.values(), strict=True):
        yield from (cell for cell in table.cells(budget) if cell.method == "YGAN")
        settings = hyperparameters(budget, "YGAN", dataset, scored_by="weak_prototype")
        runs = {("YGAN", "scored_by=weak_prototype"): settings}
        yield from dataset_grid(budget, "ygan-figure-8", dataset, "leave_one_out", runs)


FIGURE_8 = two_budgets("ygan-figure-8", "Y-GAN, Figure 8: seven scores", _scores)


def _readings(budget: str) -> Iterator[Cell]:
    """MNIST with batch norm where section 4.3 has it, with and without L_con and the reversal (A1 to A3).

    The other order is in Tables 1 and 5. The released code has 64 shuffles a step, which only the paper's
    budget can afford.
    """
    dataset = "mnist"
    labels = ("", "ablation=A1", "ablation=A2", "ablation=A3")
    for cell in TABLE_5.cells(budget):
        if cell.dataset == dataset and cell.label in labels:
            yield cell
    yield from (cell for cell in TABLE_1.cells(budget) if cell.method == "SoftmaxClassifier")
    runs = {
        ("SoftmaxClassifier", "norm=after"): hyperparameters(
            budget, "SoftmaxClassifier", dataset, **NORM_AFTER
        )
    }
    for name in labels:
        label = ",".join(filter(None, ["norm=after", name]))
        settings = NORM_AFTER | ABLATIONS.get(name.removeprefix("ablation="), {})
        runs["YGAN", label] = hyperparameters(budget, "YGAN", dataset, **settings)
    if budget == "paper":
        runs["YGAN", "released code"] = hyperparameters(budget, "YGAN", dataset, **RELEASED)
    yield from dataset_grid(budget, "ygan-readings", dataset, "leave_one_out", runs)


READINGS = all_budgets("ygan-readings", "Y-GAN on MNIST by other readings of its paper", _readings)
