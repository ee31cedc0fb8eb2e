"""The command line: score a folder of images, list methods and data sets, rerun tables of experiments.

    minigan score photos/ --train good_photos/ --set epochs=50 --out scores.csv
    minigan reproduce digits --minutes 8
    minigan reproduce --next --minutes 60 --jobs 2

`minigan COMMAND --help` explains each. A mistake is answered with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigan import registry
from minigan.cells import BUDGETS
from minigan.registry import METHODS

# What may go wrong with what a user gives, or with training; anything else is a bug and shows itself.
MISTAKES = (ValueError, TypeError, OSError, FloatingPointError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 after a mistake, or 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except MISTAKES as error:
        print(f"minigan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("minigan: interrupted; what was finished before is kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("minigan", description="Anomaly detection with GANs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=text, description=text)
        added.set_defaults(run=run)
        return added

    budget: dict[str, Any] = {
        "default": "quick",
        "choices": BUDGETS,
        "help": "quick: for two cores (the default); paper: what the papers spent",
    }
    command(methods, "list the methods")
    command(datasets, "list the data sets: what is there, what is missing, how to get it")

    sub = command(score, "learn from a folder of normal images, then score the images of another")
    sub.add_argument("folder", help="images to score")
    sub.add_argument(
        "--train",
        required=True,
        metavar="FOLDER",
        help="normal images to learn from; a sub-folder for each sub-class where the method wants these",
    )
    sub.add_argument("--method", default="ALGAN", metavar="NAME", help="see `minigan methods`; default ALGAN")
    sub.add_argument("--image-size", type=int, default=64, metavar="PIXELS", help="side; default 64")
    sub.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="hyperparameters of the method, such as epochs=20",
    )
    sub.add_argument("--out", metavar="FILE", help="write a CSV file instead of printing a table")

    sub = command(reproduce, "run what a table of experiments still lacks")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("table", nargs="?", help="see `minigan results`")
    which.add_argument("--next", action="store_true", help="what is missing of all tables, seed by seed")
    sub.add_argument("--budget", **budget)
    sub.add_argument("--jobs", type=int, metavar="N", help="runs side by side; -1: one on each core")
    sub.add_argument("--minutes", type=float, metavar="M", help="start no run after M minutes")

    sub = command(results, "show the tables, or the recorded results of one")
    sub.add_argument("table", nargs="?", help="default: an overview of all")
    sub.add_argument("--budget", **budget)
    return parser


# ---------------------------------------------------------------------- the commands


def methods(options: argparse.Namespace) -> None:
    """Every method with the first line of its description."""
    for name in METHODS:
        print(f"{name:21}{registry.get(name).__doc__.splitlines()[0]}")


def datasets(options: argparse.Namespace) -> None:
    """Every data set with what is there of it, or how to get it."""
    from minigan import data, sources

    embedded = [(name, "there", "comes with minigan") for name in data._LOADERS]
    for name, state, note in embedded + sources.status():
        print(f"{name:21}{state:11}{note}")


def score(options: argparse.Namespace) -> None:
    """Scores of a folder's images, as a table: file, score, and whether it lies above the threshold."""
    import pandas as pd  # inside the commands, so that --help is quick

    from minigan import images

    method = registry.get(options.method)
    detector = method(**{"image_size": options.image_size} | _settings(method, options.set))
    # All that can be wrong is looked at before training, which may take hours.
    detector._check_parameters()
    if detector.holdout == 0:
        raise ValueError("--set holdout=0 leaves no images for the threshold; give a share such as 0.1")
    if options.out and not Path(options.out).parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(Path(options.out).parent)!r} to write scores into")
    if options.out and Path(options.out).is_dir():
        raise IsADirectoryError(f"{options.out!r} is a folder; give --out the path of a file")
    files = images.image_files(options.folder)
    train = images.read_folder(options.train, size=detector.image_size)  # (n, c, h, w)
    if len(train) < 3:
        raise ValueError(
            f"{len(train)} images to learn from are too few, one is kept for the threshold; give 100 or more"
        )
    test = images.read_folder(options.folder, size=detector.image_size, channels=train.shape[1])

    labels = None
    if detector.label_meaning == "classes" and detector.labels == "given":
        try:
            labels = images.folder_classes(options.train)
        except ValueError as error:
            raise ValueError(f"{error}, or let --set labels=cluster find sub-classes") from error
    scores = detector.fit(train, labels).anomaly_score(test)
    names = [path.relative_to(options.folder).as_posix() for path in files]
    table = pd.DataFrame({"file": names, "score": scores, "anomalous": scores > detector.threshold_})
    if options.out:
        table.to_csv(options.out, index=False)
    else:
        print(table.to_string(index=False))
    flagged, where = int(table["anomalous"].sum()), f"; see {options.out}" if options.out else ""
    print(f"{flagged} of {len(table)} images lie above the threshold {detector.threshold_:.4g}{where}")


def reproduce(options: argparse.Namespace) -> None:
    """Run the missing cells of a table, or of all, and say how far that is."""
    from minigan import experiments

    name = None if options.next else options.table
    done = experiments.reproduce(name, options.jobs, options.minutes, budget=options.budget)
    if name is None:
        _print_overview(done)
    else:
        print(f"{name}: {done['auroc'].notna().sum()} of {len(done)} runs recorded")


def results(options: argparse.Namespace) -> None:
    """All tables with how far they are, or one table's means."""
    from minigan import experiments, tables

    if options.table is None:
        _print_overview(experiments.overview(budget=options.budget))
    else:
        print(tables.table(options.table).title)
        print(experiments.summary(options.table, budget=options.budget).round(3).to_string(na_rep="-"))


# ---------------------------------------------------------------------- inside


def _print_overview(tables: Any) -> None:
    for name, table in tables.iterrows():
        print(f"{name:35}{table['recorded']:5} of {table['runs']:5} runs recorded; {table['title']}")


def _settings(method: type, texts: Sequence[str]) -> dict[str, Any]:
    """["epochs=20", "augment=('hflip',)"] -> {"epochs": 20, "augment": ("hflip",)}; text stays text."""
    fields = {field.name: field for field in dataclasses.fields(method)}
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in fields:
            raise ValueError(
                f"--set {text!r}: expected NAME=VALUE with a name that {method.__name__} knows: "
                f"{', '.join(fields)}"
            )
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
        kind, default = fields[name].type, fields[name].default
        # Those of more than one type, such as int | None, are left to the method.
        wanted = {"int": int, "float": (int, float), "bool": bool}.get(kind, object)
        if not isinstance(settings[name], wanted):
            raise ValueError(f"--set {text!r}: expected a value of type {kind}, such as {name}={default}")
    return settings
