"""What `minigan fit`, `minigan score` and `minigan compare` do with folders of photographs.

`cli.py` declares what can be typed. Everything that can be wrong is checked before a training, which may take
hours, and nothing is lost after it: scores that cannot be written are printed, a detector that cannot be
saved where it should be is saved elsewhere. What takes long to import is imported inside the functions.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigan import registry, scores_file, terminal
from minigan.checks import require
from minigan.photographs import Chosen, normal_images, photographs
from minigan.scores_file import reason_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

    from minigan.detector import Detector

#: What learns, at which size of the images, if nothing else is said; and what `compare` tries.
DEFAULT = "PCA"
IMAGE_SIZE = 64
COMPARED = ("PCA", "NearestNeighbors", "IsolationForest")
#: Folders whose images `compare` takes for normal ones, wherever it finds them in the test folder.
NORMAL = ("good", "normal", "ok")
#: AUROCs that differ by less are treated as equal by the advice of `compare`.
NEAR = 0.01
#: Heat maps that are in memory at once.
AT_ONCE = 64


def fit(options: argparse.Namespace) -> int:
    """Learn from a folder of normal images and save the detector."""
    from minigan.files import trying

    detector = make_detector(options)
    with trying(options.out) as temporary:  # noticed now, not after the training
        temporary.touch()
    chosen = normal_images(options.folder)
    _say(f"learns from {chosen} in {options.folder}")
    _check_enough(chosen)
    code = _train(detector, chosen, _read(chosen.files, detector.image_size))
    _save(detector, options.out)
    print(f"{type(detector).__name__} saved as {options.out}: `minigan score {options.out} FOLDER` uses it")
    print(how_sure(detector))
    return code


def score(options: argparse.Namespace) -> int:
    """Scores of images, as a table: file, score, and whether it lies above the threshold."""
    import pandas as pd

    learns = options.train is not None
    detector = make_detector(options) if learns else _saved_detector(options)
    files, names = files_and_names(options.images if learns else options.images[1:])
    table = pd.DataFrame({"file": names, "score": float("nan"), "anomalous": False})
    scores_file.rehearse(table, options.out)
    maps = _map_files(detector, names, options.heatmaps)
    code = 0
    if learns:
        chosen = normal_images(options.train)
        _check_enough(chosen)
        train = _read(chosen.files, detector.image_size)
        test = _read(files, detector.image_size, train.shape[1])
        code = _train(detector, chosen, train)
    else:
        channels, size, _ = detector.image_shape_
        test = _read(files, size, channels)
    table["score"] = detector.anomaly_score(test)
    table["anomalous"] = table["score"] > detector.threshold_
    scores_file.deliver(table, options.out)
    alone = options.out is not None and scores_file.is_standard_output(options.out)
    print(summary(table, detector, options.out), file=sys.stderr if alone else sys.stdout)
    if maps:
        _draw_maps(detector, test, files, maps)
        _say(f"{len(maps)} heat maps in {options.heatmaps}")
    return code


def compare(options: argparse.Namespace) -> int:
    """Several methods on the same images: AUROC, what each flags, and the seconds of training."""
    import pandas as pd

    from minigan import metrics

    methods = [find_method(name) for name in options.methods]
    detectors = [method(**settings_of(method, options, own=())) for method in methods]
    for detector in detectors:
        detector._check_parameters()
    chosen = normal_images(options.train)
    _check_enough(chosen)
    files = photographs(options.test).files
    inside = [{part.lower() for part in path.relative_to(options.test).parts[:-1]} for path in files]
    anomalous = [parts.isdisjoint(NORMAL) for parts in inside]
    require(
        0 < sum(anomalous) < len(files),
        f"expected folders of normal images ({', '.join(NORMAL)}) beside others in {options.test!r}, got "
        f"{sum(anomalous)} of {len(files)} images outside of such folders; sort them into folders",
    )
    _say(f"learns from {chosen}; tests on {len(files) - sum(anomalous)} normal, {sum(anomalous)} anomalous")
    size = detectors[0].image_size
    train = _read(chosen.files, size)
    test = _read(files, size, train.shape[1])
    rows = []
    for detector in detectors:
        began = time.perf_counter()
        code = _train(detector, chosen, train)
        if code:
            return code
        seconds = time.perf_counter() - began
        scores = detector.anomaly_score(test)
        flagged = pd.Series(scores > detector.threshold_).groupby(anomalous).mean()
        rows.append(
            {
                "method": type(detector).__name__,
                "AUROC": metrics.auroc(anomalous, scores),
                "anomalies found": f"{flagged[True]:.0%}",
                "false alarms": f"{flagged[False]:.0%}",
                "seconds": round(seconds, 1),
            }
        )
    table = pd.DataFrame(rows).sort_values("AUROC", ascending=False, kind="stable")
    print(table.round({"AUROC": 3}).to_string(index=False))
    print(_advice(table))
    return 0


# ---------------------------------------------------------------------- what is asked for


def make_detector(options: argparse.Namespace) -> Detector:
    """The detector that was asked for, with checked hyperparameters."""
    method = find_method(options.method or DEFAULT)
    detector = method(**settings_of(method, options, options.set))
    detector._check_parameters()
    require(
        detector.holdout > 0,
        "expected holdout to be above 0, because the threshold comes from held-out images, got 0; pass "
        "--set holdout=0.1",
    )
    return detector


def _saved_detector(options: argparse.Namespace) -> Detector:
    """The detector in a file, which is the first of the arguments; images to score must follow."""
    import minigan

    model, *images = options.images
    require(
        len(images) > 0,
        f"expected a model and the images that it is to score, got {model!r} alone; pass both, or a "
        "folder to learn from with --train",
    )
    asked = {"--method": options.method, "--image-size": options.image_size, "--set": options.set or None}
    extra = [name for name, value in asked.items() if value is not None]
    require(
        not extra,
        f"expected {', '.join(extra)} only where a detector learns, got it with the saved {model!r}; leave "
        "it away, or pass a folder to learn from with --train",
    )
    detector = minigan.load(model)
    shape = detector.image_shape_
    require(
        len(shape) == 3 and shape[1] == shape[2],
        f"expected a detector of square images, got {model!r}, which takes the shape {shape}; fit one on "
        "images",
    )
    require(
        hasattr(detector, "threshold_"),
        f"expected a detector with a threshold, got {model!r} without one; call its calibrate with normal "
        "images and save it again",
    )
    return detector


def find_method(name: str) -> type[Detector]:
    """The class of a method; capital and small letters are the same here."""
    known = {method.lower(): method for method in registry.METHODS}
    return registry.get(known.get(name.lower(), name))


def settings_of(method: type[Detector], options: argparse.Namespace, own: Sequence[str]) -> dict[str, Any]:
    """The image size, and ["epochs=20", "augment=('hflip',)"] as values; what is no Python stays text."""
    from minigan.detector import parameter_types

    settings: dict[str, Any] = {
        "image_size": IMAGE_SIZE if options.image_size is None else options.image_size
    }
    for text in own:
        name, equals, value = text.partition("=")
        require(bool(equals), f"expected --set NAME=VALUE, got {text!r}; write {text}=VALUE")
        if name not in parameter_types(method):
            nearest = difflib.get_close_matches(name, parameter_types(method), n=1)
            guess = f"did you mean {nearest[0]}? " if nearest else ""
            raise ValueError(
                f"expected a hyperparameter of {method.__name__}, got --set {text!r}; {guess}"
                f"`minigan methods {method.__name__}` lists all"
            )
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # not a Python literal
            settings[name] = value
    return settings


# ---------------------------------------------------------------------- images


def files_and_names(where: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The image files of folders and single files, and what the table calls them.

    In a single folder, that is the path inside the folder.
    """
    files: list[Path] = []
    for each in where:
        files += [Path(each)] if os.path.isfile(each) else photographs(each).files
    root = Path(where[0]) if len(where) == 1 and os.path.isdir(where[0]) else None
    return files, [(path if root is None else path.relative_to(root)).as_posix() for path in files]


def _read(files: Sequence[Path], size: int | None, channels: int | None = None) -> Tensor:
    """Image files as a tensor, (n, c, h, w) uint8."""
    from minigan import images
    from minigan.image_files import read_images

    return images.as_tensor(read_images(files, size, channels, channels_first=True))


def _check_enough(chosen: Chosen) -> None:
    require(
        len(chosen.files) >= 3,
        f"expected at least 3 training images, one of them for the threshold, got {chosen}; pass 100 or more "
        "if you can",
    )


def _labels(detector: Detector, chosen: Chosen) -> np.ndarray | None:
    """The sub-classes of the training images, for methods that learn from given ones."""
    from minigan.image_files import folder_classes

    if detector.label_meaning != "classes" or getattr(detector, "labels", "given") != "given":
        return None
    try:
        return folder_classes(chosen.root, chosen.files)
    except ValueError as error:
        raise ValueError(f"{error}, or let --set labels=cluster find sub-classes") from error


# ---------------------------------------------------------------------- training and saving


def _train(detector: Detector, chosen: Chosen, train: Tensor) -> int:
    """Fit a detector; returns the exit code, which is not 0 where Ctrl-C ended the training early."""
    labels = _labels(detector, chosen)
    with warnings.catch_warnings():
        # Both are said in words that suit the command line.
        warnings.filterwarnings("ignore", "interrupted in epoch|the threshold comes from")
        detector.fit(train, labels)
    if not getattr(detector, "interrupted_", False):  # classical methods have no epochs to stop between
        return 0
    wanted, trained = detector.get_params()["epochs"], len(detector.history_)
    _say(
        f"minigan: expected to train {wanted} epochs, got {trained} because of an interruption; another "
        "Ctrl-C ends at once"
    )
    return terminal.INTERRUPTED


def _save(detector: Detector, out: str) -> None:
    """Save a trained detector; where that fails, into the folder for temporary files instead."""
    try:
        detector.save(out)
    except OSError as error:
        elsewhere = os.path.join(tempfile.mkdtemp(prefix="minigan-"), "detector.safetensors")
        detector.save(elsewhere)
        raise OSError(
            f"expected to save the detector as {out!r}, got an error ({reason_of(error)}); it was saved as "
            f"{elsewhere!r} instead"
        ) from error


# ---------------------------------------------------------------------- what is said


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def summary(table: pd.DataFrame, detector: Detector, out: str | None) -> str:
    """How many images are flagged, and how sure the threshold is: two lines."""
    return (
        f"{table['anomalous'].sum()} of {len(table)} images lie above the threshold "
        f"{detector.threshold_:.4g}{f'; see {out}' if out else ''}\n{how_sure(detector)}"
    )


def how_sure(detector: Detector) -> str:
    """What the threshold means for normal images, and how sure that is."""
    low, high = (100 * fraction for fraction in detector.normal_flagged_)
    digits = 0 if high - low >= 5 else 1
    return (
        f"of normal images, between {low:.{digits}f} and {high:.{digits}f} % may lie above it "
        f"(90 % interval; the threshold comes from {detector.n_calibrated_} images)"
    )


def _advice(table: pd.DataFrame) -> str:
    """Which method to take: the quickest of those that no other beats clearly on these images."""
    best = table.iloc[0]
    near = table[table["AUROC"] >= best["AUROC"] - NEAR]
    quickest = near.loc[near["seconds"].idxmin()]
    if quickest["method"] == best["method"]:
        return f"{best['method']} has the highest AUROC, and none within {NEAR} of it is quicker"
    return (
        f"take {quickest['method']}: its AUROC is within {NEAR} of the highest, that of {best['method']}, "
        "and it is quicker"
    )


# ---------------------------------------------------------------------- heat maps


def _map_files(detector: Detector, names: Sequence[str], folder: str | None) -> list[Path]:
    """Where the heat map of each image goes; checked before the training."""
    if folder is None:
        return []
    require(
        hasattr(detector, "anomaly_map"),
        f"expected a method with heat maps, got {type(detector).__name__}, which has none; leave --heatmaps "
        "away, or choose one that says where an image is anomalous",
    )
    require(
        not os.path.isfile(folder),
        f"expected --heatmaps to be a folder, got {folder!r}, which is a file; pass the path of a folder",
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    flat = [name.replace("/", "_") for name in names]
    if len(set(flat)) < len(flat):  # such as a/b.png and a_b.png: one must not replace the other
        flat = [f"{i:04}_{name}" for i, name in enumerate(flat)]
    return [Path(folder) / f"{name}.png" for name in flat]


def _draw_maps(detector: Detector, test: Tensor, files: Sequence[Path], maps: Sequence[Path]) -> None:
    """Save each photograph with its heat map over it; all maps of a call have one scale of colours."""
    import matplotlib
    import numpy as np
    from PIL import Image

    from minigan.image_files import open_upright

    heat: Callable[[Any], np.ndarray] = detector.anomaly_map
    few = range(0, len(test), max(1, len(test) // AT_ONCE))
    low, high = np.quantile(heat(test[list(few)]), [0.5, 0.999])
    parts = (heat(part) for part in test.split(AT_ONCE))
    for value, file, path in zip(itertools.chain.from_iterable(parts), files, maps, strict=True):
        photograph = open_upright(file).convert("RGB")
        strength = np.clip((value - low) / max(high - low, 1e-12), 0, 1)
        colours = matplotlib.colormaps["inferno"](strength, bytes=True)
        colours[..., 3] = (200 * strength).astype(np.uint8)  # nothing covers what is normal
        overlay = Image.fromarray(colours).resize(photograph.size, Image.Resampling.BILINEAR)
        photograph.paste(overlay, mask=overlay)
        photograph.save(path)
