"""Sets of good and defective things: MVTec AD, magnetic tiles, and leaves.

`data.load("mvtec", category="screw")` and so on call these functions; see `benchmarks.py`.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from minigan import datafiles
from minigan.data import Dataset, _check_size
from minigan.folders import if_file, labelled_files, numbered, tree
from minigan.sources import find, folder_of, load

MVTEC = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw"),
    *("tile", "toothbrush", "transistor", "wood", "zipper"),
)


def mvtec(category: str = "bottle", size: int = 64, grayscale: bool = False) -> Dataset:
    """One of the 15 categories of MVTec AD: photographs of things and surfaces, with defects in the test set.

    Class 0 is "good"; the official training images all are. `masks` mark the defects of the test images.
    Where a copy has no mask that belongs to its images, `masks` is None. The photographs have 700 to 1024
    pixels; the papers take 256. The categories grid, screw and zipper are grey in the original.
    Good screws are darker in the test set than in training: their mean brightness alone tells them from all
    the defective ones (in the copy that was looked at).

    Layout: <category>/train/good, <category>/test/<defect>, <category>/ground_truth/<defect>/000_mask.png.

    Source: Bergmann, Batzner, Fauser, Sattlegger and Steger, The MVTec anomaly detection dataset, IJCV 129,
    2021: 5354 images, CC BY-NC-SA 4.0 (not for commercial use).
    """
    if category not in MVTEC:
        raise ValueError(f"MVTec has no category {category!r}: choose one of {', '.join(MVTEC)}.")
    _check_size("mvtec", size, 8, 1024)

    def locate(wanted: bool) -> Path | None:
        found = find("mvtec", wanted, f"{category}/train/good/", category)
        return found and found / category

    options = {"category": category, "size": size, "grayscale": grayscale}
    return load("mvtec", options, locate, lambda path: tree(path, f"mvtec ({category})", size, grayscale))


def mtd(size: int = 64, by_tile: bool = True) -> Dataset:
    """Magnetic tile defects: 952 photographs of good tiles, 392 with one of five defects; grey, with masks.

    Class 0 is "good", then "blowhole", "break", "crack", "fray", "uneven". No official split. The photographs
    differ in shape and are squeezed to a square; ALGAN's paper takes 256 pixels. In the copy that was looked
    at, the masks of five uneven tiles are empty.

    `groups` numbers the tiles: about 219 were photographed some six times each, so a random split puts
    photographs of one tile on both sides. The numbers come from a file groups.json beside the folders,
    {"MT_Free/Imgs/exp1_num_1.jpg": 0, ...}, if there is one, else from `tile_groups`.
    `by_tile=False` leaves the numbers out: the papers' random split, which leaks.

    Layout: MT_Free/Imgs/exp1_num_4727.jpg with its mask exp1_num_4727.png; and so MT_Blowhole, MT_Break,
    MT_Crack, MT_Fray, MT_Uneven. Source: Huang, Qiu and Yuan, Surface defect saliency of magnetic tile, The
    Visual Computer 36, 2020; the authors' repository, which states no licence.
    """
    _check_size("mtd", size, 8, 1024)

    def read(path: Path) -> Dataset:
        kinds = ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven")
        files, labels = labelled_files(path, [f"MT_{kind}" for kind in kinds], ".jpg")
        keys = [file.relative_to(path).as_posix() for file in files]
        known = if_file(path / "groups.json")
        return Dataset(
            name="mtd",
            images=datafiles.read_images(files, size, 1, "mtd"),
            labels=labels,
            classes=("good", *(kind.lower() for kind in kinds[1:])),
            masks=datafiles.read_masks([if_file(file.with_suffix(".png")) for file in files], (size, size)),
            groups=tile_groups(keys) if known is None else numbered(_json(known).get, keys),
            defects=True,
        )

    dataset = load("mtd", {"size": size}, lambda wanted: find("mtd", wanted), read)
    if not by_tile:
        return replace(dataset, groups=None)
    return _warn_of_leaks(dataset, "photographs of one tile")


def tile_groups(names: Sequence[str]) -> np.ndarray | None:
    """Which photographs of MTD show the same tile, told by their names: (n,) int64; None if they do not tell.

    A name such as exp3_num_7899.jpg seems to say: light setting 3, frame 7899 of one long recording in which
    each tile was shown under settings 1 to 6. So a new tile begins where, in the order of the frames, the
    setting does not go up and more than 60 frames have passed. This is our reading, not the authors' word.
    Against groups found by looking at the images: 211 in place of 219, 4 of them torn apart.
    """
    found = [re.fullmatch(r"exp(\d+)_num_(\d+)", Path(name).stem) for name in names]
    if not all(found):
        return None
    setting, frame = np.array([[int(match[1]), int(match[2])] for match in found]).T
    order = np.argsort(frame)
    begins = (np.diff(setting[order]) <= 0) & (np.diff(frame[order]) > 60)
    groups = np.empty(len(found), np.int64)
    groups[order] = np.r_[0, np.cumsum(begins)]
    return groups


def plantvillage(
    species: str | Sequence[str] | None = None, size: int = 64, grayscale: bool = False
) -> Dataset:
    """PlantVillage: leaves of 14 species, healthy or with a disease; colour, 256x256.

    Class 0 is "healthy", every other class a disease, such as "apple black rot"; no official split.
    `subclasses` numbers the species: Y-GAN's paper trains on the healthy leaves of all species and knows
    which species each belongs to. `species` is one name or several, such as "apple" or ("apple", "grape");
    None takes all that are there. Nine species come healthy and ill, three only healthy, and two (orange,
    squash) only ill.

    `groups` numbers the leaves, of which most were photographed several times. It needs a file that says
    which photograph shows which leaf: the publisher's leaf-map.json, or leaf_groups.json with
    {"Apple___healthy/name.jpg": "16.0", ...}. A photograph without a known leaf is a group of its own;
    without a file, `groups` is None, and a random split leaks. The backgrounds differ between the folders,
    and a model can use that.

    Layout: folders such as Apple___healthy and Apple___Black_rot, in raw/color of the publisher's repository.

    Source: Hughes and Salathe, arXiv:1511.08060, 2015; Mohanty, Hughes and Salathe, Using deep learning for
    image-based plant disease detection, Frontiers in Plant Science 7, 2016: 54,305 colour images. CC BY-SA
    3.0.
    """
    _check_size("plantvillage", size, 8, 1024)
    wanted = None if species is None else sorted({species} if isinstance(species, str) else set(species))

    def read(path: Path, leaves: Path | None = None) -> Dataset:
        folders = {x.name: _species(x.name) for x in sorted(path.iterdir()) if "___" in x.name}
        known = sorted(set(folders.values()))
        unknown = [name for name in wanted or () if name not in known]
        if unknown or wanted == []:
            raise ValueError(
                f"no species {', '.join(unknown)!r} is in {str(path)!r}: choose from {', '.join(known)}."
            )
        chosen = [name for name in folders if wanted is None or folders[name] in wanted]
        files, folder = labelled_files(path, chosen)
        conditions = [_condition(name) for name in chosen]
        classes = ("healthy", *sorted(set(conditions) - {"healthy"}))
        kinds = tuple(sorted({folders[name] for name in chosen}))
        keys = [file.relative_to(path).as_posix() for file in files]
        return Dataset(
            name=f"plantvillage ({', '.join(kinds)})" if wanted else "plantvillage",
            images=datafiles.read_images(files, size, 1 if grayscale else 3, "plantvillage"),
            labels=np.array([classes.index(condition) for condition in conditions])[folder],
            classes=classes,
            groups=None if leaves is None else numbered(_leaf_of(leaves), keys),
            defects=True,
            subclasses=np.array([kinds.index(folders[name]) for name in chosen])[folder],
            subclass_names=kinds,
        )

    def locate(wanted: bool) -> list[Path] | None:
        top, home = find("plantvillage", wanted), folder_of("plantvillage")
        if top is None:
            return None
        above = [x for x in (top, *top.parents) if x.is_relative_to(home)]
        names = ("leaf_groups.json", "leaf-map.json", "leaf_grouping/leaf-map.json")
        return [top, *[x / name for x in above for name in names if (x / name).is_file()][:1]]

    dataset = load("plantvillage", {"species": wanted, "size": size, "grayscale": grayscale}, locate, read)
    return _warn_of_leaks(dataset, "photographs of one leaf")


def _species(folder: str) -> str:
    """ "Pepper,_bell___healthy" -> "pepper"."""
    return re.match("[^_,( ]*", folder)[0].lower()


def _condition(folder: str) -> str:
    """ "Grape___Black_rot" -> "grape black rot", "Apple___Apple_scab" -> "apple scab"; "healthy" stays."""
    condition = " ".join(re.split("[ _]+", folder.partition("___")[2].strip("_"))).lower()
    prefix = (
        "" if condition == "healthy" or condition.startswith(_species(folder)) else f"{_species(folder)} "
    )
    return prefix + condition


def _leaf_of(path: Path) -> Callable[[str], str | None]:
    """A function that tells the leaf in "<folder>/<name>.jpg", or None where the file does not know it."""
    leaves = _json(path)
    if path.name == "leaf_groups.json":
        return lambda key: None if leaves.get(key) is None else f"{key.partition('/')[0]}:::{leaves[key]}"

    # The publisher's: {"frec_scab 3335": ["Apple___Apple_scab:::79.0", ...]}, ends of names in small letters.
    def leaf(key: str) -> str | None:
        folder, _, name = key.partition("/")
        known = leaves.get(Path(name).stem.rpartition("___")[2].lower(), [])
        of_folder = [entry for entry in known if entry.startswith(f"{folder}:::")]
        return (of_folder or (known if len(known) == 1 else [None]))[0]

    return leaf


def _json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"cannot read {str(path)!r} ({datafiles.reason(error)}): expected a JSON object, names to groups"
        ) from error


def _warn_of_leaks(dataset: Dataset, what: str) -> Dataset:
    if dataset.groups is None:
        warnings.warn(
            f"{dataset.name}: nothing says which images are {what}, so a random split puts some on both "
            "sides and flatters every method",
            stacklevel=4,
        )
    return dataset
