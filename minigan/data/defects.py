"""Benchmarks of good and defective things: MVTec AD, magnetic tiles, and leaves.

    screws = data.load("mvtec", category="screw", size=128)     # FileNotFoundError says where to get it
    leaves = data.load("plantvillage", species="apple")

Images are resized bilinearly and antialiased, and squeezed to a square. Pages and licences are in
`sources.py`; layouts and counts are those of the publishers' pages and of the papers named.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from minigan.checks import require
from minigan.data import sources
from minigan.data.cache import cached
from minigan.data.dataset import Dataset
from minigan.data.folders import (
    group_numbers,
    if_file,
    labelled_files,
    read_tree,
    warn_of_empty_masks,
    warn_of_leaks,
)
from minigan.image_files import read_images, reason
from minigan.mask_files import read_masks

MVTEC = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
#: The folders of the magnetic tiles, "MT_Free" and so on; good tiles first.
TILES = ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven")


# --- MVTec AD -------------------------------------------------------------------------------------------


def mvtec(category: str = "bottle", size: int = 64, grayscale: bool = False) -> Dataset:
    """One of the 15 categories of MVTec AD: photographs of things and surfaces, with defects in the test set.

    Class 0 is "good"; the official training images all are. `masks` mark the defects of the test images.
    Where a copy has no mask that belongs to its images, `masks` is None. The photographs have 700 to 1024
    pixels; the papers take 256. The categories grid, screw and zipper are grey in the original.
    Good screws are darker in the test set than in training: their mean brightness alone distinguishes them
    from all the defective ones (in the copy that was examined).

    Layout: <category>/train/good, <category>/test/<defect>, <category>/ground_truth/<defect>/000_mask.png.

    Source: Bergmann, Batzner, Fauser, Sattlegger and Steger, The MVTec anomaly detection dataset, IJCV 129,
    2021: 5354 images, CC BY-NC-SA 4.0 (not for commercial use).
    """
    require(category in MVTEC, f"expected a category out of {', '.join(MVTEC)}, got {category!r}")
    return read_mvtec(category, size, grayscale)


@cached("mvtec", part="category")
def read_mvtec(path: Path, category: str, size: int, grayscale: bool) -> Dataset:
    """One category of MVTec AD, in its folder; see `mvtec`."""
    return read_tree(path, f"mvtec ({category})", size, 1 if grayscale else None)


# --- magnetic tiles -------------------------------------------------------------------------------------


def mtd(size: int = 64, by_tile: bool = True) -> Dataset:
    """Magnetic tile defects: 952 photographs of good tiles, 392 with one of five defects; grey, with masks.

    Class 0 is "good", then "blowhole", "break", "crack", "fray", "uneven". No official split. The photographs
    differ in shape and are squeezed to a square; ALGAN's paper takes 256 pixels. In the copy that was
    examined, the masks of five uneven tiles are empty.

    `groups` numbers the tiles: about 219 were photographed some six times each, so a random split puts
    photographs of one tile on both sides. The numbers come from a file groups.json beside the folders,
    {"MT_Free/Imgs/exp1_num_1.jpg": 0, ...}, if there is one, else from `tile_groups`.
    `by_tile=False` leaves the groups out: the papers' random split, which leaks.

    It warns, when the photographs are read for the first time, of masks that mark nothing and of those that
    belong to no photograph.

    Layout: MT_Free/Imgs/exp1_num_4727.jpg with its mask exp1_num_4727.png; and so MT_Blowhole, MT_Break,
    MT_Crack, MT_Fray, MT_Uneven. Source: Huang, Qiu and Yuan, Surface defect saliency of magnetic tile, The
    Visual Computer 36, 2020; the authors' repository, which states no licence.
    """
    dataset = read_mtd(size)
    if not by_tile:
        return replace(dataset, groups=None)
    return warn_of_leaks(dataset, "photographs of one tile")


@cached("mtd")
def read_mtd(path: Path, size: int) -> Dataset:
    """The magnetic tiles with their groups; see `mtd`."""
    folders = [f"MT_{kind}" for kind in TILES]
    files, labels = labelled_files(path, folders, ".jpg")
    images = read_images(files, size, 1, "mtd")
    masks = read_masks([if_file(file.with_suffix(".png")) for file in files], (size, size))
    warn_of_empty_masks(masks, files, labels)
    known = {file.with_suffix("") for file in files}
    stray = [file for file in labelled_files(path, folders, ".png")[0] if file.with_suffix("") not in known]
    if stray:
        warnings.warn(
            f"expected masks named like the photographs, got {len(stray)} that belong to none of them, "
            f"{str(stray[0])!r} for one; rename or remove these",
            stacklevel=2,
        )
    keys = [file.relative_to(path).as_posix() for file in files]
    groups = tile_groups(keys)
    if (path / "groups.json").is_file():  # better known
        tile_of = _read_json(path / "groups.json")
        groups = group_numbers([tile_of.get(key) for key in keys], keys)
    return Dataset(
        name="mtd",
        images=images,
        labels=labels,
        classes=("good", *(kind.lower() for kind in TILES[1:])),
        masks=masks,
        groups=groups,
        defects=True,
    )


def tile_groups(names: Sequence[str]) -> np.ndarray | None:
    """Group numbers of MTD's photographs, one for each tile, derived from their names: (n,) int64.

    None where some names do not say it. A name such as exp3_num_7899.jpg seems to say: light setting 3, frame
    7899 of one long recording in which each tile was shown under settings 1 to 6. So a new tile begins where,
    in the order of the frames, the setting does not go up and more than 60 frames have passed. This is our
    reading, not the authors' word. Compared with groups found by looking at the images: 211 in place of 219,
    4 of them torn apart.
    """
    matches = [re.fullmatch(r"exp(\d+)_num_(\d+)", Path(name).stem) for name in names]
    found = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(found) < len(names):
        return None
    setting, frame = np.array(found).T
    order = np.argsort(frame)
    begins = (np.diff(setting[order]) <= 0) & (np.diff(frame[order]) > 60)
    groups = np.empty(len(found), np.int64)
    groups[order] = np.r_[0, np.cumsum(begins)]
    return groups


# --- leaves ---------------------------------------------------------------------------------------------


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
    if species is not None:  # in one order, so that ("apple", "grape") and ("grape", "apple") share a copy
        species = sorted({species} if isinstance(species, str) else set(species))
    return warn_of_leaks(read_plantvillage(species, size, grayscale), "photographs of one leaf")


def _leaf_file(path: Path) -> Path | None:
    """The file that says which photograph shows which leaf: in the set's folder, or in one that holds it."""
    for folder in (path, *path.parents):
        if not folder.is_relative_to(sources.home("plantvillage")):
            return None
        for name in ("leaf_groups.json", "leaf-map.json", "leaf_grouping/leaf-map.json"):
            if (folder / name).is_file():
                return folder / name
    return None


@cached("plantvillage", beside=_leaf_file)
def read_plantvillage(path: Path, species: list[str] | None, size: int, grayscale: bool) -> Dataset:
    """The leaves of these species (None: of all) with their groups; see `plantvillage`."""
    species_of = {x.name: _species(x.name) for x in sorted(path.iterdir()) if "___" in x.name}
    known = sorted(set(species_of.values()))
    wanted = known if species is None else species
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"expected species out of {', '.join(known)}, got {', '.join(unknown)!r}; only those are in "
            f"{str(path)!r}"
        )
    folders = [name for name in species_of if species_of[name] in wanted]
    files, folder = labelled_files(path, folders)  # folder: (n,), the index in `folders`
    conditions = [_condition(name) for name in folders]
    classes = ("healthy", *sorted(set(conditions) - {"healthy"}))
    kinds = tuple(sorted({species_of[name] for name in folders}))
    groups, leaves = None, _leaf_file(path)
    if leaves is not None:
        leaf_of = _leaf_of(leaves)
        keys = [file.relative_to(path).as_posix() for file in files]
        groups = group_numbers([leaf_of(key) for key in keys], keys)
    return Dataset(
        name=f"plantvillage ({', '.join(kinds)})" if species else "plantvillage",
        images=read_images(files, size, 1 if grayscale else 3, "plantvillage"),
        labels=np.array([classes.index(condition) for condition in conditions])[folder],
        classes=classes,
        groups=groups,
        defects=True,
        subclasses=np.array([kinds.index(species_of[name]) for name in folders])[folder],
        subclass_names=kinds,
    )


def _species(folder: str) -> str:
    """The species in a folder's name: "Pepper,_bell___healthy" -> "pepper"."""
    return re.split("[_,( ]", folder)[0].lower()


def _condition(folder: str) -> str:
    """ "Grape___Black_rot" -> "grape black rot", "Apple___Apple_scab" -> "apple scab"; "healthy" stays."""
    condition = " ".join(re.split("[ _]+", folder.partition("___")[2].strip("_"))).lower()
    if condition == "healthy" or condition.startswith(_species(folder)):
        return condition
    return f"{_species(folder)} {condition}"


def _leaf_of(path: Path) -> Callable[[str], str | None]:
    """A function from "<folder>/<name>.jpg" to the leaf on it, or to None where the file does not say."""
    leaves = _read_json(path)
    if path.name == "leaf_groups.json":  # {"Apple___healthy/name.jpg": "16.0", ...}

        def leaf_by_path(key: str) -> str | None:
            return None if leaves.get(key) is None else f"{key.partition('/')[0]}:::{leaves[key]}"

        return leaf_by_path

    # The publisher's: {"frec_scab 3335": ["Apple___Apple_scab:::79.0", ...]}, ends of names in small letters.
    # One end may belong to leaves of several folders; then only the entry of this folder counts.
    def leaf_by_name(key: str) -> str | None:
        folder, _, name = key.partition("/")
        known = leaves.get(Path(name).stem.rpartition("___")[2].lower(), [])
        for entry in known:
            if entry.startswith(f"{folder}:::"):
                return entry
        return known[0] if len(known) == 1 else None

    return leaf_by_name


def _read_json(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"expected a JSON object that maps names to groups, got {str(path)!r} ({reason(error)}); repair "
            "or remove it"
        ) from error
