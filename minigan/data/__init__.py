"""Data sets: images with labels, and what is known about them.

    digits = data.load("digits")                          # handwritten digits, 32x32
    colors = data.load("color_digits")                    # the same in black, on ten background colours
    bricks = data.load("textures", category="brick")      # photographs with drawn defects
    points = data.toy("eight", 500)                       # points in the plane

    cifar = data.load("cifar10")                          # downloads itself
    bottles = data.load("mvtec", category="bottle")       # says where to get it
    photos = data.load("folder", path="photos/", size=64) # your own

Every set is a `Dataset`: images, labels, and what is known about them. Splitting one into training and test
images is the task of `protocols.py`. `minigan datasets` shows which of the benchmarks are there. One lives in
`data/<name>/`, as the archive that its publisher offers or unpacked; the first load unpacks it, resizes every
image and keeps the result, so that the next load takes a moment.

| module       | what is in it                                                                   |
|--------------|---------------------------------------------------------------------------------|
| `dataset`    | `Dataset`, and how a large one is thinned                                       |
| `bundled`    | the small sets that come with minigan's dependencies                            |
| `arrays`     | MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100, COIL-100                             |
| `defects`    | MVTec AD, magnetic tiles, PlantVillage                                          |
| `medical`    | cells, brain scans, chest X-rays, retinal scans, lung tissue                    |
| `folders`    | any folder of images                                                            |
| `sources`    | pages, licences, and where the files are                                        |
| `archives`   | finding and unpacking                                                           |
| `cache`      | the copies that are kept: the decorator that makes a reader into a data set     |

A new set is one function, entered in `LOADERS` below; a benchmark has an entry in `sources.SOURCES` besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigan.checks import is_whole_number, require
from minigan.data.arrays import cifar10, cifar100, coil100, fashion_mnist, mnist
from minigan.data.bundled import (
    BACKGROUNDS,
    backgrounds,
    color_digits,
    digits,
    on_backgrounds,
    textures,
    toy,
)
from minigan.data.dataset import Dataset, thinned
from minigan.data.defects import mtd, mvtec, plantvillage, tile_groups
from minigan.data.folders import folder
from minigan.data.medical import alzheimer, chest_xray, kth_cellvideos, lung_histopathology, retinal_oct
from minigan.data.sources import status

__all__ = [
    "BACKGROUNDS",
    "BUNDLED",
    "LOADERS",
    "Dataset",
    "alzheimer",
    "backgrounds",
    "chest_xray",
    "cifar10",
    "cifar100",
    "coil100",
    "color_digits",
    "digits",
    "fashion_mnist",
    "folder",
    "kth_cellvideos",
    "load",
    "lung_histopathology",
    "mnist",
    "mtd",
    "mvtec",
    "names",
    "on_backgrounds",
    "plantvillage",
    "retinal_oct",
    "status",
    "textures",
    "tile_groups",
    "toy",
]

#: All data sets by name: the functions that `load` calls.
LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "color_digits": color_digits,
    "textures": textures,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "coil100": coil100,
    "mtd": mtd,
    "mvtec": mvtec,
    "plantvillage": plantvillage,
    "kth_cellvideos": kth_cellvideos,
    "alzheimer": alzheimer,
    "chest_xray": chest_xray,
    "lung_histopathology": lung_histopathology,
    "retinal_oct": retinal_oct,
    "folder": folder,
}

#: The names of those that come with minigan's dependencies and are always there.
BUNDLED = ("digits", "color_digits", "textures")


def names() -> tuple[str, ...]:
    """The names that `load` knows. The first three are always there; `minigan datasets` shows the others."""
    return tuple(LOADERS)


def load(name: str, n: int | None = None, **options: Any) -> Dataset:
    """Load a data set by name; the options are those of the function of that name in `minigan.data`.

    `n` thins a set that is too large for the machine: about n images, always the same ones, drawn at random
    so that each class keeps its fraction. Of an official test part, at least 1000 images stay (or half of n):
    an AUROC of a few images would say nothing.

    Raises:
        ValueError: no such data set, or an option with a value that it does not know.
        FileNotFoundError: the set has to be fetched first; the sentence says where, and where to put it.
    """
    require(name in LOADERS, f"expected a data set out of {', '.join(LOADERS)}, got {name!r}")
    require(
        n is None or (is_whole_number(n) and n >= 1),
        f"expected n to be a number of images, 1 or more, or None for all of them, got {n!r}",
    )
    dataset = LOADERS[name](**options)
    return dataset if n is None else thinned(dataset, n)
