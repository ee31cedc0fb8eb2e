"""What `minigan fit` and `minigan score` do with folders of photographs.

`cli.py` declares what can be typed, `training.py` has what the commands share. Scores that cannot be written
where they should be are printed. What takes long to import is imported inside the functions.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigan import comparison, heatmaps, scores_file, training, wording
from minigan.checks import require
from minigan.onnx_model import OnnxDetector, is_onnx
from minigan.photographs import is_list, is_sorted, labels_of, normal_images, photographs
from minigan.training import say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from minigan.detector import Detector


def fit(options: argparse.Namespace) -> int:
    """Learn from a folder of normal images and save the detector."""
    from minigan.files import trying

    detector = training.make_detector(options)
    with trying(options.out) as temporary:  # noticed now, not after the training
        temporary.touch()
    state = training.state_file(options.out, options.resume)
    chosen = normal_images(options.folder)
    training.check_enough(chosen)
    chosen, images = training.read_to_learn(chosen, detector, options.strict)
    training.announce(detector, chosen, images, options.folder, options.method is None)
    baseline = comparison.fit_baseline(detector, chosen)
    code = training.train(detector, chosen, images, state)
    training.save(detector, options.out)
    print(f"{type(detector).__name__} saved as {options.out}: `minigan score {options.out} FOLDER` uses it")
    contained = wording.what_it_contains(detector)
    if contained:
        print(contained)
    print(f"training took {wording.duration(detector.notes_['seconds'])}")
    print(wording.how_sure(detector))
    if baseline is not None:
        print(comparison.after_fit(detector, baseline, options.folder))
    return code


def score(options: argparse.Namespace) -> int:
    """Scores of images, as a table: file, score, and whether it lies above the threshold."""
    import numpy as np
    import pandas as pd

    learns = options.train is not None
    detector: Any = training.make_detector(options) if learns else _saved_detector(options)
    files, names, anomalous = to_score(options.images if learns else options.images[1:])
    table = pd.DataFrame({"file": names, "score": float("nan"), "anomalous": False})
    scores_file.rehearse(table, options.out)
    maps = heatmaps.map_files(detector, names, options.heatmaps)
    code, baseline = 0, None
    if learns:
        chosen = normal_images(options.train)
        training.check_enough(chosen)
        chosen, train = training.read_to_learn(chosen, detector, options.strict)
        training.announce(detector, chosen, train, options.train, options.method is None)
        channels, size = train.shape[1], detector.image_size
    else:
        channels, size, _ = detector.image_shape_
    test, kept = training.read(files, size, channels, detector.squaring, options.strict)
    if learns:
        baseline = comparison.fit_baseline(detector, chosen)
        code = training.train(detector, chosen, train)
    readable = [path in set(kept) for path in files] if len(kept) < len(files) else [True] * len(files)
    table = table[readable].reset_index(drop=True)
    maps = [path for path, here in zip(maps, readable, strict=False) if here]
    files = kept
    table["score"] = detector.anomaly_score(test)
    table["anomalous"] = table["score"] > detector.threshold_
    scores_file.deliver(table, options.out)
    scores, truth = table["score"].to_numpy(), np.array(anomalous)[readable]
    normal = scores[~truth] if is_sorted(truth.tolist()) else scores
    alone = options.out is not None and scores_file.is_standard_output(options.out)
    where = sys.stderr if alone else sys.stdout
    print(summary(table, detector, options.out, truth, known_images(detector, test)), file=where)
    if baseline is not None:
        root = Path(options.images[0]) if os.path.isdir(options.images[0]) else None
        print(comparison.after_score(detector, baseline, files, scores, root), file=where)
    for warning in warnings_about(detector, files, test, normal):
        say(f"minigan: {warning}")
    if maps:
        heatmaps.draw_maps(detector, test, files, maps)
        say(f"{len(maps)} heat maps in {options.heatmaps}")
    return code


# ---------------------------------------------------------------------- models and images


def load_model(path: str) -> Detector:
    """The detector in a file that `fit` or `save` wrote, with a threshold and for square images."""
    require(
        not is_onnx(path),
        f"expected a detector that minigan saved, got {path!r}, which can only score; pass the file that it "
        "was exported from",
    )
    import minigan

    detector = minigan.load(path)
    shape = detector.image_shape_
    require(
        len(shape) == 3 and shape[1] == shape[2],
        f"expected a detector of square images, got {path!r}, which takes the shape {shape}; fit one on "
        "images",
    )
    require(
        hasattr(detector, "threshold_"),
        f"expected a detector with a threshold, got {path!r} without one; call its calibrate with normal "
        "images and save it again",
    )
    return detector


def _saved_detector(options: argparse.Namespace) -> Detector | OnnxDetector:
    """The detector in a file, which is the first of the arguments; images to score must follow."""
    model, *images = options.images
    require(
        len(images) > 0,
        f"expected a model and the images that it is to score, got {model!r} alone; pass both, or a "
        "folder to learn from with --train",
    )
    asked = {"--method": options.method, "--image-size": options.image_size, "--set": options.set or None}
    asked |= {"--false-alarms": options.false_alarms, "--squaring": options.squaring}
    extra = [name for name, value in asked.items() if value is not None]
    require(
        not extra,
        f"expected {', '.join(extra)} only where a detector learns, got it with the saved {model!r}; leave "
        "it away, or pass a folder to learn from with --train",
    )
    return OnnxDetector(model) if is_onnx(model) else load_model(model)


def to_score(where: Sequence[str]) -> tuple[list[Path], list[str], list[bool]]:
    """The image files of folders, CSV files and single files, what the table calls them, and their labels.

    In a single folder, the name is the path inside the folder. An image is anomalous if the folder or the
    CSV file says so, which only those that are given alone can.
    """
    files: list[Path] = []
    found = None
    for each in where:
        alone = os.path.isfile(each) and not is_list(each)
        found = None if alone else photographs(each)
        files += [Path(each)] if found is None else found.files
        if found is not None:
            if found.left_out:
                say(f"{found} in {each}")
            training.say_links(found, each)
    if len(where) > 1 or found is None:
        return files, [path.as_posix() for path in files], [False] * len(files)
    return files, [path.relative_to(found.root).as_posix() for path in files], labels_of(found)


# ---------------------------------------------------------------------- what is said


def known_images(detector: Any, images: np.ndarray) -> np.ndarray:
    """Which images, (n, c, h, w), have the pixels of one that the detector learned from, (n,) bool."""
    import numpy as np

    from minigan.survey import fingerprints, from_notes

    then = from_notes(detector.notes_.get("training"))
    known = set() if then is None else set(then.fingerprints)
    return np.array([each in known for each in fingerprints(images)])


def summary(
    table: pd.DataFrame,
    detector: Any,
    out: str | None,
    anomalous: np.ndarray | None = None,
    known: np.ndarray | None = None,
) -> str:
    """How many images are flagged, the AUROC if both kinds are there, and how sure the threshold is: lines.

    `anomalous` (n,) bool are the labels; images of `known` (n,), which were learned from, count for no AUROC.
    """
    scores, flagged = table["score"].to_numpy(), table["anomalous"].to_numpy()
    lines = [
        f"{flagged.sum()} of {len(table)} images lie above the threshold {detector.threshold_:.4g}"
        f"{f'; see {out}' if out else ''}"
    ]
    if anomalous is not None and known is not None and is_sorted(anomalous[~known].tolist()):
        from minigan import metrics

        rest = " that it did not learn from" if known.any() else ""
        scores, flagged, anomalous = scores[~known], flagged[~known], anomalous[~known]
        low, high = metrics.bootstrap_interval(anomalous, scores)
        lines.append(
            f"these are {flagged[anomalous].sum()} of {anomalous.sum()} anomalous and "
            f"{flagged[~anomalous].sum()} of {(~anomalous).sum()} normal images{rest}; AUROC "
            f"{metrics.auroc(anomalous, scores):.3f} (95 % interval {low:.3f} to {high:.3f})"
        )
    return "\n".join([*lines, wording.how_sure(detector)])


def warnings_about(detector: Any, files: Sequence[Path], images: np.ndarray, scores: np.ndarray) -> list[str]:
    """In what images, (n, c, h, w), and their scores are not as in training; a sentence each.

    What is not known of a detector that an earlier version saved is not compared.
    """
    from minigan.survey import differences, drift, from_notes, learned_from, survey

    found = []
    then = from_notes(detector.notes_.get("training"))
    if then is not None:
        now = survey(files, images)
        found += differences(now, then)
        known = int(learned_from(now, then).sum())
        if known:
            found.append(
                f"{known} of {len(files)} images are among those that the detector learned from: their "
                "scores say little about new ones"
            )
    shift = drift(scores, getattr(detector, "calibration_scores_", None))
    return found if shift is None else [*found, shift]
