"""The command line: learn from photographs, score others, list methods and data sets, rerun experiments.

    minigan fit photos/normal --out bottle.safetensors
    minigan score bottle.safetensors photos/new --out scores.csv
    minigan compare photos/normal photos/test
    minigan report bottle.safetensors photos/test --out report.html
    minigan threshold bottle.safetensors photos/test
    minigan export bottle.safetensors --out bottle.onnx
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
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import minigan
from minigan import registry, terminal
from minigan.defaults import BUDGETS, COMPARED, FEATURES_SIZE, IMAGE_SIZE, INSTALL_FEATURES, NORMAL
from minigan.paths import data_folder

if TYPE_CHECKING:
    import pandas as pd

    from minigan.detector import Detector
    from minigan.hyperparameters import Hyperparameter

NORMAL_IMAGES = (
    "normal images to learn from (of a folder with train/ in it, those there; never test/ or masks), or a "
    "CSV file with a column file and possibly one label; for methods that learn from sub-classes, a "
    "sub-folder each"
)
SQUARING = ("squeeze", "crop", "pad")
BACKENDS = ("loky", "threading", "dask")
METHOD = "see `minigan methods`; default: PatchCore where minigan[features] is installed, else PCA"
# What a user's input can cause: wrong values, missing files, a training that diverges.
MISTAKES = (ValueError, OSError, FloatingPointError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0, 1 (failed runs), 2 (a mistake), 130 (Ctrl-C), 141 (the reader of a pipe is gone), or 128 and the number
    of another signal that ended the command.
    """
    with terminal.lenient_output(), terminal.plain_warnings(), terminal.interruptible() as received:
        try:
            options = _parser().parse_args(arguments)
            with terminal.quiet(getattr(options, "quiet", False)):
                code = options.run(options)
            print(end="", flush=True)  # an error of printing is told here, not when Python ends
        except BrokenPipeError:  # a reader such as `head` has seen enough
            code = terminal.READER_GONE
        except MISTAKES as error:
            code = _complain(error, code=2)
        except ModuleNotFoundError as error:
            if (error.name or "minigan").startswith("minigan"):  # our own mistake
                raise
            text = f"expected the package {error.name}, got none; pip install minigan brings it"
            code = _complain(text, code=2)
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

    def command(run: Callable[[argparse.Namespace], int] | str, text: str) -> argparse.ArgumentParser:
        """Declare a command: a function here, or "module.function", imported when it is asked for."""
        if isinstance(run, str):
            module, _, name = run.partition(".")
            run = partial(_elsewhere, module, name)
        else:
            name = run.__name__
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if isinstance(run, partial):  # one that works on photographs
            added.add_argument(
                "--quiet",
                action="store_true",
                help="print results and mistakes alone: no advice, no progress",
            )
        return added

    sub = command("scoring.fit", "learn from a folder of normal images and save the detector")
    sub.add_argument("folder", help=NORMAL_IMAGES)
    sub.add_argument("--out", required=True, metavar="FILE", help="where the detector is saved")
    sub.add_argument(
        "--resume",
        action="store_true",
        help="go on with a training of a network that was killed or interrupted, with the same options",
    )
    _add_training_options(sub)

    sub = command("scoring.score", "score images with a saved detector, or with one that learns first")
    sub.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="a saved detector, or an ONNX file of `minigan export`, then folders or files; with --train, "
        "no detector; of a single folder in which some images lie in a folder called "
        f"{', '.join(NORMAL)}, all others count as anomalous, and the AUROC is told",
    )
    sub.add_argument("--train", metavar="FOLDER", help=NORMAL_IMAGES)
    _add_training_options(sub)
    sub.add_argument("--out", metavar="FILE", help="write a file instead of printing a table: CSV, or *.json")
    sub.add_argument(
        "--heatmaps",
        metavar="FOLDER",
        help="save each image with a heat map over it; colours compare the images of this call",
    )

    sub = command("comparison.compare", "try several methods on the same images and say which one to take")
    sub.add_argument("train", help=NORMAL_IMAGES)
    sub.add_argument(
        "test",
        nargs="?",
        help=f"images to tell apart, the normal ones in a folder called {', '.join(NORMAL)}; without them, "
        "seconds and false alarms are all that can be compared",
    )
    sub.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"default: {' '.join(COMPARED)}, and PatchCore with {INSTALL_FEATURES}",
    )
    _add_image_size(sub)

    sub = command("reporting.report", "score images with a saved detector and write a report, one HTML file")
    sub.add_argument("model", help="a saved detector")
    sub.add_argument(
        "folder",
        help="images to score (of a folder with test/ in it, those there); if some lie in a folder called "
        f"{', '.join(NORMAL)}, all others count as anomalous; masks may lie in ground_truth/",
    )
    sub.add_argument("--out", required=True, metavar="FILE", help="where the report is written")

    sub = command("exporting.export", "write a saved detector as an ONNX file, which scores without PyTorch")
    sub.add_argument("model", help="a saved detector")
    sub.add_argument("--out", required=True, metavar="FILE.onnx", help="where the ONNX file is written")

    sub = command("thresholds.threshold", "set the threshold of a saved detector anew")
    sub.add_argument("model", help="a saved detector; it is replaced unless --out is given")
    sub.add_argument(
        "folder",
        nargs="?",
        help="images that it did not learn from (of a folder with test/ in it, those there); if some lie in "
        f"a folder called {', '.join(NORMAL)}, all others count as anomalous, and the threshold is the one "
        "that tells both apart best; else all count as normal; default: the images that training held out",
    )
    _add_false_alarms(sub)
    sub.add_argument("--out", metavar="FILE", help="where the detector is saved; default: in its old place")

    sub = command(methods, "list the methods, or the hyperparameters of one")
    sub.add_argument("name", nargs="?", metavar="NAME", help="default: all methods, a line each")
    command(datasets, "list the data sets: what is there, what is missing, how to get it")

    sub = command(reproduce, "run the experiments of a table that have no result yet")
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "table", nargs="?", help="see `minigan results`; or a Python file with one of your own"
    )
    which.add_argument("--next", action="store_true", help="what is missing in all tables, seed by seed")
    _add_budget(sub)
    sub.add_argument("--jobs", type=int, metavar="N", help="runs side by side (GPU: 8); -1: one on each core")
    sub.add_argument(
        "--backend", choices=BACKENDS, help="what spreads the runs; default: loky, processes here"
    )
    sub.add_argument(
        "--address",
        metavar="A",
        help="of dask's scheduler, such as tcp://10.0.0.1:8786, whose workers need minigan and this data "
        "folder; default: workers on this machine",
    )
    sub.add_argument("--minutes", type=float, metavar="M", help="start no run after M minutes")
    sub.add_argument("--seeds", type=int, nargs="+", metavar="N", help="only runs with these seeds")
    sub.add_argument("--methods", nargs="+", metavar="NAME", help="only runs of these methods")
    sub.add_argument("--targets", nargs="+", metavar="NAME", help="only these classes, as `results` has them")

    sub = command(results, "show the tables, or the recorded results of one")
    sub.add_argument(
        "table", nargs="?", help="or a Python file with one of your own; default: all, a line each"
    )
    _add_budget(sub)
    return parser


def _elsewhere(module: str, name: str, options: argparse.Namespace) -> int:
    return getattr(import_module(f"minigan.{module}"), name)(options)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", metavar="NAME", help=METHOD)
    _add_false_alarms(parser)
    _add_image_size(parser)
    parser.add_argument(
        "--squaring",
        choices=SQUARING,
        help="what becomes of photographs that are not square; default: squeeze; a detector remembers it",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse files that cannot be read instead of leaving them out"
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="hyperparameters of the method, such as epochs=20; see `minigan methods NAME`",
    )


def _add_false_alarms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--false-alarms",
        type=float,
        metavar="FRACTION",
        help="fraction of normal images that may lie above the threshold, such as 0.01; default: 0.05",
    )


def _add_image_size(parser: argparse.ArgumentParser) -> None:
    sizes = f"{IMAGE_SIZE}, or {FEATURES_SIZE} for methods on pretrained features"
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help=f"side; default: {sizes}")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        default="quick",
        choices=BUDGETS,
        help="quick: for two cores (the default); long: the papers' steps with small networks, hours a run; "
        "paper: what the papers spent",
    )


# ---------------------------------------------------------------------- the commands

# What takes long to import is imported inside the commands, so that --help is quick.


def methods(options: argparse.Namespace) -> int:
    """Every method with the first line of its description, or the hyperparameters of one method."""
    if options.name is not None:
        from minigan import training

        _print_hyperparameters(training.find_method(options.name))
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
    from minigan.experiments.sweep import plan

    name = None if options.next else _table_name(options.table)
    asked = {what: getattr(options, what) for what in ("seeds", "methods", "targets")}
    only = {what: values for what, values in asked.items() if values is not None}
    try:
        planned = plan(name, budget=options.budget, **only)
        if planned:
            print(planned, file=sys.stderr)
        with _spread(options.backend, options.address):
            done = experiments.reproduce(name, options.jobs, options.minutes, budget=options.budget, **only)
    except experiments.RunsFailed as error:
        return _complain(error, code=1)
    except experiments.Interrupted as error:
        return _complain(error, code=terminal.INTERRUPTED)
    if name is None:
        _print_overview(done)
    else:
        print(f"{name}: {done['auroc'].notna().sum()} of {len(done)} runs recorded")
    print(f"records are in {data_folder() / 'results'}", file=sys.stderr)
    return 0


def results(options: argparse.Namespace) -> int:
    """All tables with the number of recorded runs, or one table's means."""
    from minigan import experiments, tables

    if options.table is None:
        _print_overview(experiments.overview(budget=options.budget))
    else:
        name = _table_name(options.table)
        print(tables.table(name).title)
        print(experiments.summary(name, budget=options.budget).round(3).to_string(na_rep="-"))
    return 0


# ---------------------------------------------------------------------- inside `reproduce` and others


def _table_name(given: str) -> str:
    """The name of a table, or that of the table in a Python file, which is then known."""
    from minigan import tables

    return tables.from_file(given).name if given.endswith(".py") else given


@contextmanager
def _spread(backend: str | None, address: str | None) -> Iterator[None]:
    """Inside, joblib spreads runs by this backend: None is joblib's own choice."""
    from joblib import parallel_config

    from minigan.checks import require

    require(
        address is None or backend == "dask",
        f"expected --address with --backend dask, got it with {backend or 'none'}; add --backend dask",
    )
    if backend == "dask":
        from minigan.experiments.sweep import dask_client

        with dask_client(address), parallel_config(backend):
            yield
    elif backend is not None:
        with parallel_config(backend):
            yield
    else:
        yield


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
