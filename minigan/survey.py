"""Image files of a folder, described: how many, how large, in colour or grey, how bright, which are copies.

    about = survey(files, images)          # when a detector learns; `as_notes(about)` is kept with it
    differences(survey(others, scored), about)

What a detector learned from is kept with it, so that whoever scores other photographs next month is told when
these are not like them. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import ks_2samp

from minigan.checks import is_finite_number, is_whole_number
from minigan.image_files import Squaring, orientation_of, read_images, why_unreadable

#: Sizes of files that are kept, the most frequent ones.
KEPT_SIZES = 10
#: With more images than this, no fingerprints are kept: they would make a checkpoint large.
KEPT_FINGERPRINTS = 20_000
#: Scores have drifted when chance alone explains their difference in less than one of so many cases.
CHANCE = 100
#: Grey levels by which the mean brightness may leave the range of the training images, unseen by anyone.
LEVELS = 2


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What image files have in common."""

    n: int  # files
    sizes: dict[str, int]  # "900 x 700", width and height in pixels, -> how many; the most frequent first
    colour: int  # how many are in colour
    darkest: float  # mean grey level of the darkest image, in [0, 255]
    brightest: float  # of the brightest one
    brightness: float  # of all
    fingerprints: tuple[str, ...]  # one for each image; those of equal pixels are equal


def survey(files: Sequence[Path], images: np.ndarray) -> Survey:
    """Describe files, and their pixels as `read_images` gives them, (n, c, h, w) uint8."""
    sizes: Counter[str] = Counter()
    colour = 0
    for path in files:
        with Image.open(path) as image:  # reads the first bytes only
            width, height = image.size
            turned = orientation_of(image) >= 5 and image.format != "TIFF"  # Pillow turns those by itself
            colour += image.mode not in ("1", "L", "LA") and not image.mode.startswith(("I", "F"))
        sizes[f"{height} x {width}" if turned else f"{width} x {height}"] += 1
    levels = images.mean(axis=(1, 2, 3))
    return Survey(
        n=len(files),
        sizes=dict(sizes.most_common()),
        colour=int(colour),
        darkest=float(levels.min()),
        brightest=float(levels.max()),
        brightness=float(levels.mean()),
        fingerprints=fingerprints(images),
    )


def fingerprints(images: np.ndarray) -> tuple[str, ...]:
    """A short text for each image, (n, c, h, w) uint8; those of equal pixels are equal."""
    return tuple(hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images)


def copies(about: Survey) -> int:
    """How many images have the same pixels as one before them."""
    return len(about.fingerprints) - len(set(about.fingerprints))


def as_notes(about: Survey) -> dict[str, Any]:
    """What a checkpoint keeps of it, in the types of JSON."""
    kept = dataclasses.asdict(about)
    kept["sizes"] = dict(list(about.sizes.items())[:KEPT_SIZES])
    kept["fingerprints"] = list(about.fingerprints) if about.n <= KEPT_FINGERPRINTS else []
    return kept


def from_notes(notes: Any) -> Survey | None:
    """The survey in the notes of a detector; None where there is none, or somebody changed it to nonsense."""
    try:
        about = Survey(**notes | {"fingerprints": tuple(notes["fingerprints"])})
    except (TypeError, KeyError):
        return None
    counts = [about.n, about.colour, *(about.sizes.values() if isinstance(about.sizes, dict) else [None])]
    numbers = (about.darkest, about.brightest, about.brightness)
    texts = [*about.fingerprints, *(about.sizes if isinstance(about.sizes, dict) else [])]
    good = all(map(is_whole_number, counts)) and all(map(is_finite_number, numbers))
    return about if good and all(isinstance(text, str) for text in texts) else None


# ---------------------------------------------------------------------- other photographs, other scores


def differences(now: Survey, then: Survey) -> list[str]:
    """In what photographs differ from those that were learned from: a sentence each, without a period."""
    found = []
    other = sum(n for size, n in now.sizes.items() if size not in then.sizes)
    if other and len(then.sizes) < KEPT_SIZES:  # else they had all sizes, not all of which are kept
        first = next(size for size in now.sizes if size not in then.sizes)
        found.append(
            f"{other} of {now.n} images have a size that no training image had, such as {first} pixels "
            f"(training: {', '.join(list(then.sizes)[:3])})"
        )
    if (now.colour == 0) != (then.colour == 0):
        kinds = ("grey", "in colour")
        found.append(
            f"images are {kinds[now.colour > 0]}, those learned from were {kinds[then.colour > 0]}: they "
            "were converted"
        )
    if not then.darkest - LEVELS <= now.brightness <= then.brightest + LEVELS:
        side = "darker" if now.brightness < then.darkest else "brighter"
        found.append(
            f"images are on average {side} than every training image (mean grey level {now.brightness:.0f}; "
            f"training: {then.darkest:.0f} to {then.brightest:.0f})"
        )
    return found


def learned_from(now: Survey, then: Survey) -> np.ndarray:
    """Which images have the same pixels as one that was learned from, (n,) bool."""
    return np.isin(now.fingerprints, then.fingerprints)


def drift(scores: np.ndarray, calibration: np.ndarray | None) -> str | None:
    """Whether scores have left the range that held-out normal images had; a sentence, or None if not.

    The test is that of Kolmogorov and Smirnov, two-sided: it compares all scores with those of calibration,
    whatever their distribution is.
    """
    if calibration is None or len(scores) < 2 or len(calibration) < 2:
        return None
    test = ks_2samp(scores, calibration)
    if test.pvalue >= 1 / CHANCE:
        return None
    above = np.median(scores) > np.median(calibration)
    causes = (
        "many images are anomalous, or light, camera or product have changed since training"
        if above
        else "light, camera or sharpness have changed since training, or images were learned from"
    )
    return (
        f"scores lie {'above' if above else 'below'} those of the {len(calibration)} normal images in "
        f"calibration (Kolmogorov-Smirnov D = {test.statistic:.2f}, p = {test.pvalue:.1g}): {causes}"
    )


# ---------------------------------------------------------------------- files that cannot be read


def read_readable(
    files: Sequence[Path], size: int | None, channels: int | None, squaring: Squaring = "squeeze"
) -> tuple[np.ndarray, list[Path], dict[Path, str]]:
    """Those image files that can be read: their pixels, (n, c, h, w) uint8, their paths, and why not others.

    Raises:
        ValueError: none can be read, or they differ in size and no `size` is given.
    """
    said: dict[Path, str] = {}
    images = read_images(files, size, channels, channels_first=True, squaring=squaring, unreadable=said)
    broken = {path: why_unreadable(path, text) for path, text in said.items()}
    return images, [path for path in files if path not in broken], broken
