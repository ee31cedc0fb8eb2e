"""The tables of AGAD's paper: three generators, labelled anomalies, with and without L_adcon.

Not declared: Tables 6 and 7 list classes and layers and hold no results; Table 8 (parameters and time for an
image) is measured without training. Methods of the paper that are not in minigan have no cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minigan.tables.cells import Cell, Runs, Table
from minigan.tables.settings import (
    all_budgets,
    baselines,
    compared,
    dataset_grid,
    hyperparameters,
    two_budgets,
)

#: The generators, with their width in the quick and the long budget: a quarter of the paper's.
WIDTHS = {"naive": 16, "unet": 8, "unet++": 8}
#: The generators behind "Ours" in Table 1 (a footnote and appendix B.1).
OURS = {"mnist": "naive", "fashion_mnist": "unet++", "cifar10": "unet++", "cifar100": "unet++"}
#: Fractions of labelled anomalies in the training set, beside none: of Table 2, and of Tables 3 to 5.
GAMMAS_2 = (0.01, 0.05, 0.1, 0.2)
GAMMAS_345 = (0.01, 0.03, 0.05, 0.1)
#: The medical data sets of Table 3.
MEDICAL = ("alzheimer", "chest_xray", "lung_histopathology", "retinal_oct")


def agad_runs(
    budget: str, dataset: str, variants: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The runs of AGAD's variants, {label: hyperparameters}, each of which names its generator."""
    runs = {}
    for label, variant in variants.items():
        settings = hyperparameters(budget, "AGAD", dataset, **variant)
        if budget != "paper":
            settings["width"] = WIDTHS[variant["generator"]]
        runs["AGAD", label] = settings
    return runs


def _generators(*names: str) -> dict[str, dict[str, Any]]:
    """Plain AGAD with each of these generators, under the label that the published numbers have."""
    return {f"generator={name}": {"generator": name} for name in names}


#: The methods of Table 1 beside AGAD. ADGAN has no L_adcon, and is otherwise the same.
COMPARED = ("AnoGAN", "OCGAN", "GeoTrans", "ARNet", "ADGAN")


def _one_class(budget: str) -> Iterator[Cell]:
    """Table 1: one class is normal, all others are anomalies; no labelled anomalies in training."""
    for dataset, ours in OURS.items():
        runs = agad_runs(budget, dataset, _generators(ours)) | baselines(budget, dataset)
        runs |= compared(budget, dataset, "one_class", COMPARED)
        yield from dataset_grid(budget, "agad-1", dataset, "one_class", runs)


TABLE_1 = all_budgets(
    "agad-1", "AGAD, Table 1: one class of MNIST, Fashion-MNIST, CIFAR", _one_class, ("agad", 1)
)


def _readings(budget: str) -> Iterator[Cell]:
    """MNIST, one digit normal: whose statistics batch norm averages, and the copier without L_adcon."""
    readings: dict[str, dict[str, Any]] = {
        "both passes": {"generator": "naive", "average_both_passes": True},
        "auxiliary norms": {"generator": "naive", "auxiliary_norms": True},
        "without L_adcon": {"generator": "naive", "lambda_adcon": 0.0},
    }
    yield from _borrowed(TABLE_1, budget, "mnist")
    yield from dataset_grid(
        budget, "agad-readings", "mnist", "one_class", agad_runs(budget, "mnist", readings)
    )


READINGS = all_budgets("agad-readings", "AGAD on MNIST by several readings of batch norm", _readings)


def _borrowed(table: Table, budget: str, dataset: str, label: str | None = None) -> Iterator[Cell]:
    """AGAD's cells of another table on a data set: all of them, or those with this label."""
    for cell in table.cells(budget):
        if (cell.method, cell.dataset) == ("AGAD", dataset) and label in (None, cell.label):
            yield cell


def _all_generators(budget: str) -> Iterator[Cell]:
    """Table 9: all three generators on the data sets of Table 1, which has one of them already."""
    yield from (cell for cell in TABLE_1.cells(budget) if cell.method == "AGAD")
    for dataset, ours in OURS.items():
        others = [name for name in WIDTHS if name != ours]
        runs = agad_runs(budget, dataset, _generators(*others))
        yield from dataset_grid(budget, "agad-9", dataset, "one_class", runs)


TABLE_9 = two_budgets("agad-9", "AGAD, Table 9: three generators", _all_generators, ("agad", 9))


def _labelled_anomalies(budget: str) -> Iterator[Cell]:
    """Table 2: the generators of Table 1, which has them without anomalies, with more and more labelled ones.

    Without anomalies, `supervised` is `one_class`: the same split, and the same training.
    """
    for dataset in ("mnist", "fashion_mnist", "cifar10"):
        yield from _borrowed(TABLE_1, budget, dataset)
        runs = agad_runs(budget, dataset, _generators(OURS[dataset]))
        deep_sad = compared(budget, dataset, "supervised", ["DeepSAD"])
        yield from dataset_grid(budget, "agad-2", dataset, "one_class", deep_sad)
        yield from dataset_grid(budget, "agad-2", dataset, "supervised", runs | deep_sad, gammas=GAMMAS_2)


TABLE_2 = two_budgets("agad-2", "AGAD, Table 2: labelled anomalies", _labelled_anomalies, ("agad", 2))


def _medical(budget: str) -> Iterator[Cell]:
    """Table 3: four medical data sets, with and without L_adcon.

    Section 5 does not name the generator. It is UNet++ (section 3.3.1) unless the paper says otherwise, and
    only section 6 does: there it is the U-Net.
    """
    variants: dict[str, dict[str, Any]] = {
        "": {"generator": "unet++"},
        "lambda_adcon=0": {"generator": "unet++", "lambda_adcon": 0.0},
    }
    for dataset in MEDICAL:
        runs = agad_runs(budget, dataset, variants) | baselines(budget, dataset)
        yield from dataset_grid(budget, "agad-3", dataset, "one_class", runs)
        yield from dataset_grid(budget, "agad-3", dataset, "supervised", runs, gammas=GAMMAS_345)


TABLE_3 = two_budgets("agad-3", "AGAD, Table 3: four medical sets", _medical, ("agad", 3))

#: The data sets of Tables 4 and 5, and the label of the U-Net there, which is in Table 9 without anomalies.
UNET_DATASETS = ("fashion_mnist", "cifar10", "cifar100")
PLAIN_UNET = "generator=unet"


def _unet_runs(budget: str, dataset: str, variants: Mapping[str, Mapping[str, Any]]) -> Runs:
    """The runs of variants of the U-Net."""
    with_unet = {label: {"generator": "unet", **variant} for label, variant in variants.items()}
    return agad_runs(budget, dataset, with_unet)


def _without_adcon(budget: str) -> Iterator[Cell]:
    """Table 4: the U-Net with and without L_adcon."""
    without = {f"{PLAIN_UNET},lambda_adcon=0": {"lambda_adcon": 0.0}}
    for dataset in UNET_DATASETS:
        yield from _borrowed(TABLE_9, budget, dataset, PLAIN_UNET)
        alone = _unet_runs(budget, dataset, without)
        yield from dataset_grid(budget, "agad-4", dataset, "one_class", alone)
        both = _unet_runs(budget, dataset, {PLAIN_UNET: {}, **without})
        yield from dataset_grid(budget, "agad-4", dataset, "supervised", both, gammas=GAMMAS_345)


TABLE_4 = two_budgets("agad-4", "AGAD, Table 4: with and without L_adcon", _without_adcon, ("agad", 4))


def _batch_norms(budget: str) -> Iterator[Cell]:
    """Table 5: AdvProp's separate batch norms, and frozen ones. Its last row, with neither, is of Table 4.

    Without anomalies there is nothing that frozen norms could leave out. The paper prints no such number.
    """
    auxiliary, frozen = {"auxiliary_norms": True}, {"freeze_norms": True}
    advprop = {f"{PLAIN_UNET},auxiliary_norms=True": auxiliary}
    variants = {
        f"{PLAIN_UNET},auxiliary_norms=True,freeze_norms=True": auxiliary | frozen,
        **advprop,
        f"{PLAIN_UNET},freeze_norms=True": frozen,
    }
    for dataset in UNET_DATASETS:
        alone = _unet_runs(budget, dataset, advprop)
        yield from dataset_grid(budget, "agad-5", dataset, "one_class", alone)
        runs = _unet_runs(budget, dataset, variants)
        yield from dataset_grid(budget, "agad-5", dataset, "supervised", runs, gammas=GAMMAS_345)
        yield from _borrowed(TABLE_4, budget, dataset, PLAIN_UNET)


TABLE_5 = two_budgets("agad-5", "AGAD, Table 5: separate or frozen batch norms", _batch_norms, ("agad", 5))
