"""Every method that the papers compare themselves with, on digits: the family tree in one table.

The five papers' own methods and the classical ones have these splits in the tables of `digits.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minigan.tables.agad import WIDTHS
from minigan.tables.cells import SEEDS, Cell, Table, grid
from minigan.tables.digits import AGAD_SETTINGS, GENERATORS
from minigan.tables.settings import QUICK

#: From AnoGAN on: reconstructions and discriminators, proxy tasks, one-class networks.
NETWORKS = (
    "AnoGAN",
    "EGBAD",
    "FAnoGAN",
    "GANomaly",
    "SkipGANomaly",
    "ADGAN",
    "ALOCC",
    "OCGAN",
    "MemAE",
    "GeoTrans",
    "ARNet",
    "DeepSVDD",
)
#: On features of EfficientNet-Lite0, which was trained on ImageNet. Digits are drawn larger for it.
PRETRAINED = ("PaDiM", "PatchCore", "Mahalanobis", "DN2")
INPUT_SIZE = 64
#: Passes over nine digits, which have nine times the images of one; a third of those over one where nothing
#: else is said. One pass of GeoTrans has 72 copies of each image.
LEAVE_ONE_OUT: dict[str, dict[str, int]] = {
    "FAnoGAN": {"epochs": 12, "encoder_epochs": 6},
    "GeoTrans": {"epochs": 1},
    "ARNet": {"epochs": 20},
    "DeepSVDD": {"epochs": 20, "search_epochs": 15, "pretrain_epochs": 20, "pretrain_search_epochs": 20},
}
#: Fraction of labelled anomalies, for the methods that learn from some.
GAMMA = 0.05


def _settings(method: str, protocol: str) -> dict[str, Any]:
    settings = dict(QUICK.get(method, {}))
    if method in PRETRAINED:
        settings["input_size"] = INPUT_SIZE
    if protocol == "leave_one_out" and method in NETWORKS:
        settings |= LEAVE_ONE_OUT.get(method) or {"epochs": settings["epochs"] // 3}
    return settings


def _family_digits() -> Iterator[Cell]:
    """Both protocols, ten digits, three seeds; ADGAN also with AGAD's smallest generator."""
    for seed in SEEDS:
        for protocol in ("one_class", "leave_one_out"):
            runs = {(name, ""): _settings(name, protocol) for name in NETWORKS + PRETRAINED}
            naive = {"generator": "naive", "width": WIDTHS["naive"]}
            runs["ADGAN", "naive"] = _settings("ADGAN", protocol) | naive
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
