"""Does a GAN beat the simple methods? The question that runs through the book, asked of recorded runs.

    spine.wins("digits", method="ALGAN")         # on how many splits, and by how much
    spine.box("On digits it does not: ...")      # the box at the end of a chapter

A simple method is one of the classical baselines (`minigan.tables.CLASSICAL`). "Beats" is a hard test: the
network against the *best* of them on the same split, chosen with the answer known.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from minigan import tables
from minigan.checks import require
from minigan.experiments import records

QUESTION = "When does a GAN beat the simple methods?"
#: What two runs must share to be compared.
SPLIT = ["dataset", "options", "protocol", "target", "gamma", "seed"]
#: How many of the simple methods must have a run on a split.
ENOUGH = 3


class Wins(NamedTuple):
    """A method against the best simple one: on how many splits it is better, by how much on average.

    Several methods, or several scores of one, are compared more than once on a split.
    """

    better: int
    compared: int
    difference: float
    splits: int

    def __str__(self) -> str:
        found = f"on {self.better} of {self.splits} splits"
        if self.compared > self.splits:
            several = "one split" if self.splits == 1 else f"{self.splits} splits"
            found = f"in {self.better} of {self.compared} comparisons on {several}"
        return f"{found} (mean difference {self.difference:+.3f})"


def wins(
    *names: str,
    method: str | tuple[str, ...],
    label: str | None = None,
    protocol: str | None = None,
    dataset: str | None = None,
    folder: str | Path | None = None,
) -> Wins:
    """How often a method has a higher AUROC than the best simple method on the same split.

    Args:
        names: tables whose quick runs are counted, the simple methods' tables among them.
        method: a class, or several, whose splits are added.
        label: of its row, where the tables have several of its rows; None counts all of them.
        protocol: such as "one_class"; None counts all.
        dataset: such as "mnist", where the tables have several; None counts all.
        folder: the data folder.

    Raises:
        ValueError: no split has a run of the method and of three simple ones.
    """
    runs = pd.concat([records.results(name, folder) for name in names]).dropna(subset=["auroc"])
    runs = runs.drop_duplicates([*SPLIT, "method", "label"])
    for column, wanted in (("protocol", protocol), ("dataset", dataset)):
        runs = runs if wanted is None else runs[runs[column] == wanted]
    by_split = runs[runs["method"].isin(tables.CLASSICAL)].groupby(SPLIT)["auroc"]
    best = by_split.max()[by_split.count() >= ENOUGH]
    methods = (method,) if isinstance(method, str) else method
    own = runs[runs["method"].isin(methods)]
    own = own if label is None else own[own["label"] == label]
    gain = (
        own.set_index(SPLIT)["auroc"] - best.reindex(pd.MultiIndex.from_frame(own[SPLIT])).values
    ).dropna()
    require(
        len(gain) > 0,
        f"expected runs of {', '.join(methods)} and of {ENOUGH} simple methods on one split, got none in "
        f"{', '.join(names)}",
    )
    return Wins(int((gain > 0).sum()), len(gain), float(gain.mean()), gain.index.nunique())


@dataclass(frozen=True)
class Box:
    """The box of a chapter, as HTML; a notebook shows it as a cell's last value."""

    text: str

    def _repr_html_(self) -> str:
        return (
            f'<div class="admonition important spine"><p class="admonition-title">{escape(QUESTION)}</p>\n'
            f"<p>{escape(self.text)}</p></div>"
        )

    def __repr__(self) -> str:
        return f"{QUESTION} {self.text}"


def box(text: str) -> Box:
    """The book's question with what a chapter says about it, in a box that looks the same everywhere."""
    return Box(text)
