"""The command line: score a folder of images, list methods and data sets, rerun tables of experiments.

    minigan score photos/ --train good_photos/ --set epochs=50 --out scores.csv
    minigan methods ALGAN
    minigan reproduce digits --minutes 8
    minigan reproduce --next --minutes 60 --jobs 2

`minigan COMMAND --help` explains each. A mistake is answered with one sentence and exit code 2, failed runs
of an experiment with exit code 1. Ctrl-C ends with 130, another signal with 128 and its number; `score` then
still writes the scores by the epochs that were trained, `reproduce` keeps its records. Any other error is a
bug in minigan, and shows its traceback.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import minigan
from minigan import registry, scores_file, terminal
from minigan.checks import require
from minigan.tables.cells import BUDGETS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from torch import Tensor

    from minigan.detector import Detector
    from minigan.hyperparameters import Hyperparameter

# What a user's input can cause: wrong values, missing files, a training that diverges.
MISTAKES = (ValueError, OSError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0, 1 (failed runs), 2 (a mistake), 130 (Ctrl-C), 141 (the reader of a pipe is gone), or 128 and the number
    of another signal that ended the command.
    """
    with terminal.lenient_output(), terminal.interruptible() as received:
        try:
            options = _parser().parse_args(arguments)
            code = options.run(options)
            print(end="", flush=True)  # an error of printing is told here, not when Python ends
        except BrokenPipeError:  # a reader such as `head` has seen enough
            code = terminal.READER_GONE
        except MISTAKES as error:
            code = _complain(error, code=2)
        except KeyboardInterrupt:
            code = _complain("interrupted; what was written before is kept", code=terminal.INTERRUPTED)
        return 128 + received[-1] if code == terminal.INTERRUPTED and received else code


def _complain(message: object, code: int) -> int:
    print(f"minigan: {message}", file=sys.stderr)
    return code


# ---------------------------------------------------------------------- what can be typed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("minigan", description="Anomaly detection with GANs.")
    parser.add_argument("--version", action="version", version=f"minigan {minigan.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=text, description=text)
        added.set_defaults(run=run)
        return added

    _add_score_options(command(score, "learn from a folder of normal images, then score another folder"))
    sub = command(methods, "list the methods, or the hyperparameters of one")
    sub.add_argument("name", nargs="?", metavar="NAME", help="default: all methods, a line each")
    command(datasets, "list the data sets: what is there, what is missing, how to get it")

    sub = command(reproduce, "run the experiments of a table that have no result yet")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("table", nargs="?", help="see `minigan results`")
    which.add_argument("--next", action="store_true", help="what is missing in all tables, seed by seed")
    _add_budget(sub)
    sub.add_argument("--jobs", type=int, metavar="N", help="runs side by side; -1: one on each core")
    sub.add_argument("--minutes", type=float, metavar="M", help="start no run after M minutes")

    sub = command(results, "show the tables, or the recorded results of one")
    sub.add_argument("table", nargs="?", help="default: an overview of all")
    _add_budget(sub)
    return parser


def _add_score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="images to score")
    parser.add_argument(
        "--train",
        required=True,
        metavar="FOLDER",
        help="normal images to learn from; for methods that learn from sub-classes, a sub-folder each",
    )
    parser.add_argument(
        "--method", default="ALGAN", metavar="NAME", help="see `minigan methods`; default ALGAN"
    )
    parser.add_argument("--image-size", type=int, default=64, metavar="PIXELS", help="side; default: 64")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="hyperparameters of the method, such as epochs=20; see `minigan methods NAME`",
    )
    parser.add_argument("--out", metavar="FILE", help="write a CSV file instead of printing a table")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        default="quick",
        choices=BUDGETS,
        help="quick: for two cores (the default); paper: what the papers spent",
    )


# ---------------------------------------------------------------------- the commands

# What takes long to import is imported inside the commands, so that --help is quick.


def score(options: argparse.Namespace) -> int:
    """Scores of a folder's images, as a table: file, score, and whether it lies above the threshold."""
    import pandas as pd

    from minigan.image_files import find_images

    # Everything that can be wrong is checked before training, which may take hours.
    detector = _detector(options)
    files = find_images(options.folder)
    names = [path.relative_to(options.folder).as_posix() for path in files]
    table = pd.DataFrame({"file": names, "score": float("nan"), "anomalous": False})
    scores_file.rehearse(table, options.out)
    train, test = _images(options, detector, files)
    labels = _labels(options.train, detector)
    with warnings.catch_warnings():
        # Both are said below, in words that suit the command line.
        warnings.filterwarnings("ignore", "interrupted in epoch|the threshold comes from")
        detector.fit(train, labels)
    code = 0
    if getattr(detector, "interrupted_", False):  # classical methods have no epochs to stop between
        wanted, trained = detector.get_params()["epochs"], len(detector.history_)
        sentence = f"expected to train {wanted} epochs, got {trained} because of an interruption"
        code = _complain(f"{sentence}; another Ctrl-C ends without scores", code=terminal.INTERRUPTED)
    table["score"] = detector.anomaly_score(test)
    table["anomalous"] = table["score"] > detector.threshold_
    scores_file.deliver(table, options.out)
    alone = options.out is not None and scores_file.is_standard_output(options.out)
    print(_summary(table, detector, options.out), file=sys.stderr if alone else sys.stdout)
    return code


def methods(options: argparse.Namespace) -> int:
    """Every method with the first line of its description, or the hyperparameters of one method."""
    if options.name is not None:
        _print_hyperparameters(_method(options.name))
        return 0
    for name in registry.METHODS:
        print(f"{name:21}{_first_line(registry.get(name))}")
    return 0


def datasets(options: argparse.Namespace) -> int:
    """Every data set with what is there of it, or how to get it."""
    from minigan import data

    bundled = [(name, "there", "comes with minigan") for name in data.BUNDLED]
    for name, state, note in bundled + data.status():
        print(f"{name:21}{state:11}{note}")
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Run the missing cells of a table, or of all, and print how many are recorded."""
    from minigan import experiments

    name = None if options.next else options.table
    try:
        done = experiments.reproduce(name, options.jobs, options.minutes, budget=options.budget)
    except experiments.RunsFailed as error:
        return _complain(error, code=1)
    except experiments.Interrupted as error:
        return _complain(error, code=terminal.INTERRUPTED)
    if name is None:
        _print_overview(done)
    else:
        print(f"{name}: {done['auroc'].notna().sum()} of {len(done)} runs recorded")
    return 0


def results(options: argparse.Namespace) -> int:
    """All tables with the number of recorded runs, or one table's means."""
    from minigan import experiments, tables

    if options.table is None:
        _print_overview(experiments.overview(budget=options.budget))
    else:
        print(tables.table(options.table).title)
        print(experiments.summary(options.table, budget=options.budget).round(3).to_string(na_rep="-"))
    return 0


# ---------------------------------------------------------------------- inside `score`


def _detector(options: argparse.Namespace) -> Detector:
    """The detector that was asked for, with checked hyperparameters."""
    method = _method(options.method)
    detector = method(**{"image_size": options.image_size} | _settings(method, options.set))
    detector._check_parameters()
    require(
        detector.holdout > 0,
        "expected holdout to be above 0, because the threshold comes from held-out images, got 0; pass "
        "--set holdout=0.1",
    )
    return detector


def _settings(method: type[Detector], texts: Sequence[str]) -> dict[str, Any]:
    """["epochs=20", "augment=('hflip',)"] -> {"epochs": 20, "augment": ("hflip",)}; text stays text."""
    from minigan.detector import parameter_types

    settings: dict[str, Any] = {}
    for text in texts:
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


def _images(options: argparse.Namespace, detector: Detector, files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Training and test images, (n, c, h, w) each."""
    from minigan import images
    from minigan.image_files import read_images

    train = images.read_folder(options.train, size=detector.image_size)
    require(
        len(train) >= 3,
        f"expected at least 3 training images, one of them for the threshold, got {len(train)}; pass 100 or "
        "more if you can",
    )
    # The files by name: one that is added meanwhile must not shift the scores of the others.
    test = read_images(files, detector.image_size, train.shape[1])
    return train, images.as_tensor(test if test.ndim == 3 else test.transpose(0, 3, 1, 2))


def _labels(folder: str, detector: Detector) -> np.ndarray | None:
    """The sub-classes of the training images, for methods that learn from given ones."""
    from minigan.image_files import folder_classes

    if detector.label_meaning != "classes" or getattr(detector, "labels", "") != "given":
        return None
    try:
        return folder_classes(folder)
    except ValueError as error:
        raise ValueError(f"{error}, or let --set labels=cluster find sub-classes") from error


def _summary(table: pd.DataFrame, detector: Detector, out: str | None) -> str:
    """How many images are flagged, and how sure the threshold is: two lines."""
    low, high = (100 * fraction for fraction in detector.normal_flagged_)
    digits = 0 if high - low >= 5 else 1
    return (
        f"{table['anomalous'].sum()} of {len(table)} images lie above the threshold "
        f"{detector.threshold_:.4g}{f'; see {out}' if out else ''}\n"
        f"of normal images, between {low:.{digits}f} and {high:.{digits}f} % may lie above it "
        f"(90 % interval; the threshold comes from {detector.n_calibrated_} images)"
    )


# ---------------------------------------------------------------------- inside `methods` and `results`


def _method(name: str) -> type[Detector]:
    """The class of a method; capital and small letters are the same here."""
    known = {method.lower(): method for method in registry.METHODS}
    return registry.get(known.get(name.lower(), name))


def _first_line(method: type[Detector]) -> str:
    return (method.__doc__ or "").splitlines()[0]


def _print_hyperparameters(method: type[Detector]) -> None:
    from minigan.hyperparameters import hyperparameters

    print(f"{method.__name__}: {_first_line(method)}")
    for owner, declared in itertools.groupby(hyperparameters(method), key=lambda p: p.owner):
        inherited = f", from {owner}" if owner != method.__name__ else ""
        print(f"\nHyperparameters{inherited}:")
        for text, sharing in itertools.groupby(declared, key=lambda p: p.text):
            for parameter in sharing:
                print(f"  {_declaration(parameter)}")
            print(textwrap.fill(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6))


def _declaration(parameter: Hyperparameter) -> str:
    return f"{parameter.name}: {parameter.type_text} = {parameter.default!r}"


def _print_overview(tables: pd.DataFrame) -> None:
    for name, table in tables.iterrows():
        print(f"{name:35}{table['recorded']:5} of {table['runs']:5} runs recorded; {table['title']}")
