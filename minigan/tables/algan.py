"""The tables of ALGAN's paper: MVTec AD on images and on features, magnetic tiles, COIL-100, the ablation.

Not declared: Table 5 (time for an image) is measured without training, and Table 6 (time of training) needs
only the seconds in the records. In the quick budget, methods on features have EfficientNet-Lite0 as their
backbone, as their labels say. Methods of the paper that are not in minigan have no cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from minigan.data.defects import MVTEC
from minigan.tables.cells import Cell, Runs
from minigan.tables.settings import (
    BASELINES,
    PRETRAINED,
    all_budgets,
    baselines,
    compared,
    dataset_grid,
    hyperparameters,
    on_features,
    photographs,
    two_budgets,
)

#: How the paper (section 4.2) augments the training images of each MVTec-AD category: `ALGAN(augment=...)`.
MVTEC_AUGMENTATIONS: dict[str, tuple[str, ...]] = {
    "carpet": ("vflip", "hflip"),
    "grid": ("vflip", "hflip"),
    "leather": ("vflip", "hflip"),
    "tile": ("vflip", "hflip"),
    "bottle": ("vflip", "hflip", "rotate"),
    "hazelnut": ("vflip", "hflip", "rotate"),
    "wood": ("hflip",),
    "toothbrush": ("hflip",),
    "transistor": ("hflip",),
    "zipper": ("hflip",),
    "metal_nut": ("rotate",),
    "screw": ("rotate",),
    "cable": (),
    "capsule": (),
    "pill": (),
}
#: Categories without colours; the toothbrushes have some, but the paper makes them grey.
GREY = ("grid", "screw", "toothbrush", "zipper")
#: The categories that are textures; the other ten are objects.
TEXTURES = ("carpet", "grid", "leather", "tile", "wood")

#: ALGAN's two kinds of pseudo-anomalies: how its defaults switch them on, and how to switch each off.
PSEUDO_ANOMALIES: dict[str, Any] = {"buffer_batches": 2, "alpha": 0.75}
WITHOUT_BUFFER: dict[str, Any] = {"buffer_batches": 0}
WITHOUT_ANOMALOUS_LATENT: dict[str, Any] = {"alpha": 1.0}
#: The ablation (Table 7) by name: what differs from the defaults. A row's label in the published numbers
#: gives the table's check marks, see `CHECK_MARKS`.
ABLATION: dict[str, dict[str, Any]] = {
    "neither": WITHOUT_BUFFER | WITHOUT_ANOMALOUS_LATENT,
    "buffer": WITHOUT_ANOMALOUS_LATENT,
    "anomalous latent": WITHOUT_BUFFER,
    "both": {},
}
CHECK_MARKS = {
    "neither": "buffer=0,anomalous_latent=0",
    "buffer": "buffer=1,anomalous_latent=0",
    "anomalous latent": "buffer=0,anomalous_latent=1",
    "both": "buffer=1,anomalous_latent=1",
}


def _options(category: str) -> dict[str, Any]:
    """Options of `data.load` for a category of MVTec AD."""
    options: dict[str, Any] = {"category": category}
    if category in GREY:
        options["grayscale"] = True
    return options


def _mvtec(budget: str, table: str, runs_of: Callable[[str], Runs]) -> Iterator[Cell]:
    """MVTec AD, where every category is a data set of its own, with runs of its own."""
    for category in MVTEC:
        options = _options(category)
        yield from dataset_grid(
            budget, table, "mvtec", "defects", runs_of(category), targets=[category], options=options
        )


def _mvtec_settings(budget: str, category: str, **varied: Any) -> dict[str, Any]:
    """ALGAN's hyperparameters on a category of MVTec AD."""
    settings = hyperparameters(budget, "ALGAN", "mvtec", augment=MVTEC_AUGMENTATIONS[category], **varied)
    if category not in GREY:  # the largest of three equal channels, and their mean, would be two more copies
        settings["extra_channels"] = True
    return settings


def _images(budget: str) -> Iterator[Cell]:
    """Table 1: ALGAN on the images of MVTec AD, beside three other networks."""
    others = compared(budget, "mvtec", "defects", ("GANomaly", "SkipGANomaly", "ALOCC"))

    def runs(category: str) -> Runs:
        return {("ALGAN", ""): _mvtec_settings(budget, category)} | others | baselines(budget, "mvtec")

    return _mvtec(budget, "algan-1", runs)


TABLE_1 = all_budgets("algan-1", "ALGAN, Table 1: MVTec AD", _images, ("algan", 1))


def _algan_on_features(budget: str, dataset: str, **varied: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """ALGAN on features."""
    return on_features(budget, dataset, ["ALGANFeature"], **varied)


def _features(budget: str) -> Iterator[Cell]:
    """Table 2: features of objects are those of the middle (224 of 256 pixels), of textures of the whole."""
    for category in MVTEC:
        crop = {} if category in TEXTURES else {"crop_from": 256}
        runs = {**_algan_on_features(budget, "mvtec", **crop), **on_features(budget, "mvtec")}
        options = _options(category) | photographs(budget)
        yield from dataset_grid(
            budget, "algan-2", "mvtec", "defects", runs, targets=[category], options=options
        )
    yield from (cell for cell in TABLE_1.cells(budget) if cell.method in BASELINES)


TABLE_2 = two_budgets("algan-2", "ALGAN, Table 2: MVTec AD, on features", _features, ("algan", 2))


def flipped_settings(budget: str, dataset: str) -> dict[str, Any]:
    """ALGAN's hyperparameters on tiles and objects, which are mirrored at random (section 4.2)."""
    return hyperparameters(budget, "ALGAN", dataset, augment=("hflip",))


def _tiles(budget: str) -> Iterator[Cell]:
    """Table 3: magnetic tiles, good and with defects."""
    runs = {("ALGAN", ""): flipped_settings(budget, "mtd")} | baselines(budget, "mtd")
    runs |= compared(budget, "mtd", "defects", ("GANomaly", "SkipGANomaly"))
    yield from dataset_grid(budget, "algan-3", "mtd", "defects", runs)
    runs = {**_algan_on_features(budget, "mtd"), **on_features(budget, "mtd")}
    yield from dataset_grid(budget, "algan-3", "mtd", "defects", runs, options=photographs(budget))


TABLE_3 = two_budgets("algan-3", "ALGAN, Table 3: magnetic tiles", _tiles, ("algan", 3))


def _objects(budget: str) -> Iterator[Cell]:
    """Table 4: COIL-100, where ten random objects are normal and all others are anomalies."""
    runs = {("ALGAN", ""): flipped_settings(budget, "coil100")} | baselines(budget, "coil100")
    runs |= _algan_on_features(budget, "coil100") | compared(budget, "coil100", "objects", PRETRAINED)
    return dataset_grid(budget, "algan-4", "coil100", "objects", runs)


TABLE_4 = two_budgets("algan-4", "ALGAN, Table 4: COIL-100", _objects, ("algan", 4))


def _ablation(budget: str) -> Iterator[Cell]:
    """Table 7: ALGAN with and without its two kinds of pseudo-anomalies, on MVTec AD."""

    def runs(category: str) -> Runs:
        return {
            ("ALGAN", CHECK_MARKS[name]): _mvtec_settings(budget, category, **switched)
            for name, switched in ABLATION.items()
        }

    return _mvtec(budget, "algan-7", runs)


TABLE_7 = two_budgets(
    "algan-7", "ALGAN, Table 7: with and without its pseudo-anomalies", _ablation, ("algan", 7)
)
