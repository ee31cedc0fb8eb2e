"""Measures what minigan costs, prints a table, and keeps the numbers in data/results/speed.csv.

    make bench                                       # everything, in about half an hour on a quiet machine
    make bench BENCH="--only methods others"         # some parts
    make bench BENCH="--quick --methods PCA MemAE"   # seconds, to see that it works

Every measurement is written as soon as it is made: one that is killed keeps what it had measured. Other
libraries are measured where they are installed: `make bench PY=...` takes another Python.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bench import methods, others, papers, tricks
from minigan import registry
from minigan.experiments import speed

#: The parts, in the order in which they are run.
PARTS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "imports": tricks.imports,
    "methods": lambda repetitions: iter(()),  # method by method, see `run`
    "tricks": tricks.tricks,
    "scale": tricks.scale,
    "workers": tricks.workers,
    "printed": papers.printed,
    "tables": papers.steps,
    "others": others.measure,
}


def run(parts: list[str], names: list[str], repetitions: int, folder: Path | None) -> int:
    """Measure these parts, and these methods; how many of them failed."""
    failed = 0
    for part in parts:
        if part == "methods":
            for name in names:
                failed += _kept(name, methods.measure(name, repetitions), folder)
        else:
            failed += _kept(part, PARTS[part](repetitions), folder)
    return failed


def _kept(title: str, rows: Iterator[dict[str, Any]], folder: Path | None) -> int:
    """Write each line as it comes; 1 if an error ended them, which is shown and ends nothing else."""
    try:
        for line in rows:
            speed.note([line], folder)
            words = (line["name"], line["variant"], line["metric"], line["value"])
            print(*filter(None, words), sep=" | ", flush=True)
    except Exception:
        print(f"{title} failed:", file=sys.stderr)
        traceback.print_exc()
        return 1
    return 0


def table(folder: Path | None) -> pd.DataFrame:
    """One row for each method: the numbers of the part "methods"."""
    columns = {
        "train, images/s": ("images per second", "training"),
        "score, images/s": ("images per second", "scoring"),
        "ms/step": ("ms per step", "training"),
        "fit/loop": ("ratio", "fit / bare loop"),
        "floor/loop": ("ratio", "floor / bare loop"),
        "one/batches": ("ratio", "one by one / batches"),
        "train, MB": ("MB at the peak", "training"),
        "score, MB": ("MB at the peak", "scoring"),
    }
    found = {
        title: speed.measured("methods", metric, variant, folder)
        for title, (metric, variant) in columns.items()
    }
    return pd.DataFrame(found).reindex(registry.methods()).dropna(how="all").round(3)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--methods", nargs="+", choices=registry.methods(), default=registry.methods())
    parser.add_argument("--repetitions", type=int, default=5, help="turns that each measurement takes")
    parser.add_argument("--quick", action="store_true", help="one turn, and the part `methods` alone")
    parser.add_argument("--out", type=Path, help="the folder in which results/speed.csv is, instead of data")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = ["methods"] if options.quick else options.only
    failed = run(parts, options.methods, 1 if options.quick else options.repetitions, options.out)
    with pd.option_context("display.width", 200, "display.max_columns", 20):
        print(table(options.out).to_string())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
