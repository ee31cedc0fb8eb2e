"""What a threshold promises, fractions and durations, in words: for commands and reports. No torch."""

from __future__ import annotations

import math
from typing import Any

from minigan.checks import is_whole_number


def images(n: int) -> str:
    """1 -> "1 image", 2 -> "2 images"."""
    return f"{n} image{'' if n == 1 else 's'}"


def how_sure(detector: Any) -> str:
    """What the threshold means for normal images, and how sure that is."""
    low, high = (100 * fraction for fraction in detector.normal_flagged_)
    digits = 0 if high - low >= 5 else 1
    return (
        f"of new normal images, between {low:.{digits}f} and {high:.{digits}f} % may lie above the threshold "
        f"(90 % interval; it comes from {images(detector.n_calibrated_)})"
    )


def broken_promise(rate: float, n: int) -> str:
    """That n normal images cannot promise a rate of false alarms, if they cannot; else "".

    Of fewer than 1 / rate images, none may lie above the threshold, which then is about the highest score.
    """
    if n * rate >= 1:
        return ""
    return (
        f"{images(n)} cannot promise {100 * rate:.3g} % false alarms, which takes {math.ceil(1 / rate)} or "
        "more: the threshold is about their highest score"
    )


def where_from(detector: Any) -> str:
    """Which images the threshold comes from, and what it is meant to do: a sentence, with its period."""
    n, labelled = detector.n_calibrated_, detector.notes_.get("labelled")
    if is_whole_number(labelled):
        return (
            f"The threshold was chosen by {n} normal and {labelled - n} anomalous images: no other tells "
            "these two kinds apart better."
        )
    return (
        f"The threshold comes from the scores of {n} normal images that were held out of training: it is "
        f"meant to flag {100 * detector.contamination:.3g} % of normal images."
    )


def what_it_contains(detector: Any) -> str:
    """That the file of a detector contains the images it learned from, if it does; else ""."""
    images = getattr(detector, "data_", None)  # of a classical method
    if images is None:
        return ""
    return f"the file contains the {len(images)} images that were learned from" + (
        ": do not pass it on where they are confidential"
        if detector.exports_items
        else "; `minigan export` writes one without them"
    )


def percentages(low: float, high: float) -> str:
    """0.004 and 0.25 -> "0 to 25 %"; with a digit after the point where the two are close."""
    digits = 0 if high - low >= 0.05 else 1
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f} %"


def duration(seconds: float) -> str:
    """7000 -> "1.9 hours"; in the unit that suits."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.{1 if seconds < 10 * length else 0}f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"
