"""Which method to take: `minigan compare`, and PCA as a baseline beside every network.

A network is worth its hours only where it beats what takes seconds. So PCA is fitted beside every network
that somebody asks for, and the end says how the two differ. What takes long to import is imported inside the
functions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minigan import training, wording
from minigan.checks import require
from minigan.defaults import COMPARED, IMAGE_SIZE, INSTALL_FEATURES, NORMAL
from minigan.photographs import (
    TESTS,
    Chosen,
    is_sorted,
    labels_of,
    normal_images,
    outside_normal,
    photographs,
)
from minigan.training import say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: AUROCs that differ by less are treated as equal by the advice of `compare`.
NEAR = 0.01
#: The baseline beside a network learns from this many images at most, or it would not take seconds.
BASELINE_IMAGES = 2000
#: Images whose scoring is timed where there are none to test on.
TIMED = 16


class Baseline(NamedTuple):
    """PCA beside a network."""

    detector: Any
    seconds: float
    n: int  # images that it was given


# ---------------------------------------------------------------------- compare


def compare(options: argparse.Namespace) -> int:
    """Several methods on the same images: AUROC, what each flags, and the seconds of training."""
    import pandas as pd

    methods = [training.find_method(name) for name in options.methods or compared()]
    detectors = [method(**training.settings_of(method, options, own=())) for method in methods]
    for detector in detectors:
        detector._check_parameters()
    chosen = normal_images(options.train)
    training.check_enough(chosen)
    files, anomalous = _sorted_files(options.test) if options.test is not None else ([], [])
    first = detectors[0]
    chosen, train = training.read_to_learn(chosen, first)
    test = train[:TIMED]
    if files:
        test, kept = training.read(files, first.image_size, train.shape[1])
        labels = dict(zip(files, anomalous, strict=True))
        files, anomalous = kept, [labels[path] for path in kept]
    training.announce(first, chosen, train, options.train)
    if files:
        say(f"tests on {len(files) - sum(anomalous)} normal, {sum(anomalous)} anomalous images")
    if options.methods is None and not training.features_installed():
        say(f"PatchCore is left out: {INSTALL_FEATURES} adds it")
    rows, read = [], {first.image_size: (train, test)}
    for detector in detectors:
        size = detector.image_size
        if size not in read:
            train, _ = training.read(chosen.files, size, strict=True)
            test = training.read(files, size, train.shape[1], strict=True)[0] if files else train[:TIMED]
            read = {size: (train, test)}
        train, test = read[size]
        code = training.train(detector, chosen, train)
        if code:
            return code
        began = time.perf_counter()
        scores = detector.anomaly_score(test)
        pace = (time.perf_counter() - began) / len(test)
        rows.append(_row(detector, scores, anomalous, pace))
    table = pd.DataFrame(rows)
    if files:
        table = table.sort_values("AUROC", ascending=False, kind="stable")
    print(table.drop(columns="high", errors="ignore").round({"AUROC": 3}).to_string(index=False))
    print(_advice(table, len(files)) if files else _advice_without_test(table))
    return 0


def compared() -> list[str]:
    """The methods that `compare` tries if none is named."""
    return [*COMPARED, *(["PatchCore"] if training.features_installed() else [])]


def _sorted_files(folder: str) -> tuple[list[Path], list[bool]]:
    """The images to test on, and which of them are anomalous."""
    found = photographs(folder)
    files, anomalous = found.files, labels_of(found)
    require(
        is_sorted(anomalous),
        f"expected folders of normal images ({', '.join(NORMAL)}) beside others in {folder!r}, got "
        f"{sum(anomalous)} of {len(files)} images outside of such folders; sort them, or list them with "
        "labels in a CSV file",
    )
    return files, anomalous


def _row(detector: Any, scores: np.ndarray, anomalous: Sequence[bool], pace: float) -> dict[str, Any]:
    """A line of the table; without test images, with what the threshold's interval is."""
    import numpy as np

    from minigan import metrics

    seconds = {"seconds": round(detector.notes_["seconds"], 1), "ms per image": round(1000 * pace, 1)}
    name = {"method": type(detector).__name__}
    if not anomalous:
        low, high = detector.normal_flagged_
        return {**name, "false alarms": wording.percentages(low, high), **seconds}
    labels = np.array(anomalous)
    low, high = metrics.bootstrap_interval(labels, scores)
    flagged = scores > detector.threshold_
    return {
        **name,
        "AUROC": metrics.auroc(labels, scores),
        "95 % interval": f"{low:.2f}-{high:.2f}",
        "anomalies found": f"{flagged[labels].mean():.0%}",
        "false alarms": f"{flagged[~labels].mean():.0%}",
        **seconds,
        "high": high,
    }


def _advice(table: pd.DataFrame, n: int) -> str:
    """Which method to take: the quickest of those that no other beats clearly on these images."""
    best = table.iloc[0]
    if best["AUROC"] <= 0.5:
        return (
            f"take none of them: guessing has an AUROC of 0.5, {best['method']} {best['AUROC']:.3f}; "
            "something else than the anomalies decides, such as other light in the training images"
        )
    near = table[table["AUROC"] >= best["AUROC"] - NEAR]
    quickest = near.loc[near["seconds"].idxmin()]
    if quickest["method"] == best["method"]:
        text = f"take {best['method']}: it has the highest AUROC, and none within {NEAR} of it is quicker"
    else:
        text = (
            f"take {quickest['method']}: its AUROC is within {NEAR} of the highest, that of "
            f"{best['method']}, and it is quicker"
        )
    behind = table[table["AUROC"] < quickest["AUROC"] - NEAR]
    unsure = behind[behind["high"] >= quickest["AUROC"]]["method"]
    if len(unsure):
        text += f"; that it beats {', '.join(unsure)} may be chance, with {n} test images"
    return text


def _advice_without_test(table: pd.DataFrame) -> str:
    """What can be said of methods without anomalous images: all but which one finds them."""
    default = training.default_method()
    name = default if default in set(table["method"]) else table.loc[table["seconds"].idxmin(), "method"]
    return (
        "which of them finds anomalies, normal images alone do not say: put some normal images into "
        f"SORTED/good and a dozen defects into SORTED/defects, and pass SORTED as the second folder; until "
        f"then take {name}, {'the default' if name == default else 'the quickest'}"
    )


# ---------------------------------------------------------------------- a baseline beside a network


def fit_baseline(detector: Any, chosen: Chosen) -> Baseline | None:
    """PCA on the images that a network is about to learn from; None for other methods, which take seconds."""
    if not training.is_network(detector):
        return None
    from minigan import PCA

    step = -(-len(chosen.files) // BASELINE_IMAGES)
    files = chosen.files[::step]
    baseline = PCA(image_size=IMAGE_SIZE, seed=detector.seed, holdout=detector.holdout)
    began = time.perf_counter()
    images, _ = training.read(files, IMAGE_SIZE, strict=True)
    training.train(baseline, chosen._replace(files=files), images)
    return Baseline(baseline, time.perf_counter() - began, len(files))


def after_fit(detector: Any, baseline: Baseline, folder: str) -> str:
    """How a network and PCA differ: on the sorted images of `folder`/test, if there are some."""
    from minigan.survey import read_readable

    test = Path(folder) / TESTS
    with suppress(ValueError, OSError):  # a detector is trained and saved: no test image can undo that
        channels, _, _ = baseline.detector.image_shape_
        _, files, _ = read_readable(photographs(test).files, IMAGE_SIZE, channels)
        if is_sorted(outside_normal(test, files)):
            return after_score(detector, baseline, files, _scores(detector, files), test)
    return (
        f"{_took(detector, baseline)}; `minigan compare {folder} SORTED --methods PCA "
        f"{type(detector).__name__}` says which of them finds more, where SORTED holds normal images in a "
        "folder good, and defects beside it"
    )


def after_score(
    detector: Any,
    baseline: Baseline,
    files: Sequence[Path],
    scores: np.ndarray,
    root: Path | None = None,
) -> str:
    """How a network, by its scores of these files, and PCA differ: by AUROC, if `root` is sorted."""
    from scipy.stats import spearmanr

    from minigan import metrics

    name = type(detector).__name__
    others = _scores(baseline.detector, files)
    inside = root is not None and all(path.is_relative_to(root) for path in files)
    anomalous = outside_normal(root, files) if root is not None and inside else []
    if is_sorted(anomalous):
        ours, theirs = metrics.auroc(anomalous, scores), metrics.auroc(anomalous, others)
        better = "PCA is better" if theirs > ours else f"{name} is better" if ours > theirs else "both equal"
        return (
            f"{_took(detector, baseline)}; on {len(files)} images in {root} {name} has AUROC {ours:.3f}, PCA "
            f"{theirs:.3f}: {better}"
        )
    flagged = scores > detector.threshold_
    flagged_by_pca = others > baseline.detector.threshold_
    both = int((flagged & flagged_by_pca).sum())
    text = (
        f"{_took(detector, baseline)}; {name} flags {flagged.sum()} images, PCA {flagged_by_pca.sum()}, both "
        f"{both}"
    )
    if len(files) < 3 or len(set(scores)) < 2 or len(set(others)) < 2:
        return text
    return f"{text}; rank correlation of their scores {spearmanr(scores, others).statistic:.2f}"


def _scores(detector: Any, files: Sequence[Path]) -> np.ndarray:
    channels, size, _ = detector.image_shape_
    return detector.anomaly_score(training.read(files, size, channels, detector.squaring)[0])


def _took(detector: Any, baseline: Baseline) -> str:
    return (
        f"beside it PCA was fitted in {wording.duration(baseline.seconds)} "
        f"({type(detector).__name__}: {wording.duration(detector.notes_['seconds'])})"
    )
