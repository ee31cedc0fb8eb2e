"""What `minigan threshold` does: set the threshold of a saved detector anew, and say what it will flag.

    minigan threshold parts.safetensors sorted_parts         # normal images beside defects
    minigan threshold parts.safetensors good_parts --false-alarms 0.01
    minigan threshold parts.safetensors --false-alarms 0.01  # by the images that `fit` held out

Scores stay as they are; only what counts as anomalous changes. What takes long to import is imported inside
the functions.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minigan import scoring, training, wording
from minigan.checks import require
from minigan.defaults import NORMAL
from minigan.photographs import TESTS, is_sorted, labels_of, photographs
from minigan.training import say

if TYPE_CHECKING:
    import numpy as np

#: Level of all intervals of this command, as of those that `fit` prints.
LEVEL = 0.9


class Pictures(NamedTuple):
    """Images that a threshold can come from."""

    files: list[Path]
    images: np.ndarray  # (n, c, h, w) uint8
    anomalous: np.ndarray  # (n,) bool


def threshold(options: argparse.Namespace) -> int:
    """Set the threshold of a saved detector by other images, or by another rate of false alarms."""
    from minigan.files import trying

    detector = scoring.load_model(options.model)
    out = options.model if options.out is None else options.out
    with trying(out) as temporary:  # noticed now, not after scoring
        temporary.touch()
    before, rate = detector.threshold_, training.false_alarms(options)
    if rate is not None:
        detector.set_params(contamination=rate)
    if options.folder is None:
        _from_held_out(detector, options, rate)
    else:
        _from_images(detector, options, rate)
    training.save(detector, out)
    print(f"threshold {detector.threshold_:.4g}, before {before:.4g}; saved as {out}")
    return 0


def _from_held_out(detector: Any, options: argparse.Namespace, rate: float | None) -> None:
    """Another quantile of the scores that are kept with the detector."""
    require(
        rate is not None,
        f"expected images or a rate of false alarms, got {options.model!r} alone; pass --false-alarms 0.01, "
        "or a folder of images",
    )
    require(
        hasattr(detector, "calibration_scores_"),
        f"expected a model with the scores of its held-out images, got {options.model!r} of an earlier "
        "version; pass a folder of normal images, too",
    )
    detector._calibrate(detector.calibration_scores_, warns=False)
    print(_how_sure(detector))


def _from_images(detector: Any, options: argparse.Namespace, rate: float | None) -> None:
    """The threshold from normal images, or from normal ones beside anomalous ones."""
    pictures = _read(detector, Path(options.folder))
    files, images, anomalous = pictures
    scores = detector.anomaly_score(images)
    for warning in scoring.warnings_about(detector, files, images, scores[~anomalous]):
        say(f"minigan: {warning}")
    if rate is None and anomalous.any():
        detector._calibrate(scores, warns=False, y=anomalous)
    else:
        detector._calibrate(scores[~anomalous], warns=False)
    print(_found(detector, scores, anomalous, rate) if anomalous.any() else _how_sure(detector))


def _read(detector: Any, folder: Path) -> Pictures:
    import numpy as np

    root = folder / TESTS if (folder / TESTS).is_dir() else folder
    chosen = photographs(root)
    training.say_links(chosen, root)
    channels, size, _ = detector.image_shape_
    images, kept = training.read(chosen.files, size, channels, detector.squaring)
    labels = dict(zip(chosen.files, labels_of(chosen), strict=True))
    outside = [labels[path] for path in kept]
    anomalous = np.array(outside) & is_sorted(outside)
    kinds = f"{(~anomalous).sum()} normal, {anomalous.sum()} anomalous ones"
    if not is_sorted(outside):
        kinds = (
            f"all taken for normal ones, because no folder called {', '.join(NORMAL)} stands beside others"
        )
    say(f"{chosen} in {root}: {kinds}")
    return Pictures(kept, images, anomalous)


def _how_sure(detector: Any) -> str:
    """What a quantile of normal images promises, and what it cannot."""
    promise = wording.broken_promise(detector.contamination, detector.n_calibrated_)
    return "\n".join([wording.how_sure(detector), *([promise] if promise else [])])


def _found(detector: Any, scores: np.ndarray, anomalous: np.ndarray, rate: float | None) -> str:
    """How many images of each kind the threshold flags, with intervals."""
    from minigan import metrics

    flagged = scores > detector.threshold_
    parts = []
    for kind, of in (("anomalous", anomalous), ("normal", ~anomalous)):
        low, high = metrics.flagged_interval(scores[of], detector.threshold_, LEVEL)
        parts.append(f"{flagged[of].sum()} of {of.sum()} {kind} images ({wording.percentages(low, high)})")
    how = "the fraction of both kinds that it tells apart is the largest" if rate is None else "as asked for"
    return (
        f"it flags {' and '.join(parts)}, with {100 * LEVEL:.0f} % intervals: {how}; it was chosen on these "
        "images, so expect a little less on others"
    )
