"""What an experiment is: a cell, which is one run, and a table of cells.

`tables` declares those of this book, `experiments` runs and records them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

#: What tells one cell from another, in the order of the columns of a record.
KEY = ("method", "label", "dataset", "options", "protocol", "target", "gamma", "seed", "settings", "budget")

#: "quick" is for two cores, with fewer and smaller images and narrower networks; "paper" is what the paper
#: spent.
BUDGETS = ("quick", "paper")
SEEDS = range(3)

#: Protocols that put anomalies into the training set.
WITH_ANOMALIES = ("contaminated", "supervised")
#: Protocols that say themselves what is normal, so that a target is just a name. Their validation images
#: include anomalies.
WITHOUT_TARGET = ("defects", "objects")


@dataclass(frozen=True)
class Cell:
    """One run of one table."""

    table: str
    method: str
    label: str  # what a reader calls these settings; "" where a method stands in the table only once
    dataset: str
    options: Mapping[str, Any]  # of `data.load`
    protocol: str  # a function of `protocols`
    target: str  # the class that is normal or left out; just a name for the protocols `WITHOUT_TARGET`
    seed: int  # of the split and of the detector
    settings: Mapping[str, Any]  # hyperparameters that differ from the method's defaults
    budget: str = "quick"  # one of `BUDGETS`
    gamma: float = 0.0  # share of anomalies in the training set, for the protocols `WITH_ANOMALIES`

    def __post_init__(self):
        object.__setattr__(self, "gamma", float(self.gamma))  # 0 and 0.0 are one cell, so have one key
        if self.gamma and self.protocol not in WITH_ANOMALIES:
            raise ValueError(
                f"gamma = {self.gamma} came, but {self.protocol} has no anomalies in its training set; use "
                f"{' or '.join(WITH_ANOMALIES)}"
            )

    def __str__(self) -> str:
        label = f" ({self.label})" if self.label else ""
        gamma = f", gamma {self.gamma:g}" if self.gamma else ""
        return f"{self.table}: {self.method}{label}, {self.protocol} {self.target}{gamma}, seed {self.seed}"

    @property
    def key(self) -> tuple[str, ...]:
        """The cell as text, in the order of `KEY`: the same for equal cells, and as it stands in the file."""
        values = [getattr(self, name) for name in KEY]
        texts = [json.dumps(v, sort_keys=True) if isinstance(v, Mapping) else str(v) for v in values]
        return tuple(texts)

    @property
    def training(self) -> tuple[str, ...]:
        """What is trained, as text: the same for cells that differ in label and `scored_by` only.

        Not so for the protocols `WITHOUT_TARGET`, where the score takes part in the training: it chooses the
        epoch.
        """
        if self.protocol in WITHOUT_TARGET:
            return self.key
        settings = {name: value for name, value in self.settings.items() if name != "scored_by"}
        return replace(self, label="", settings=settings).key


@dataclass(frozen=True)
class Table:
    """A set of cells under one name. It may take cells of other tables, whose records then serve it too."""

    name: str
    title: str
    quick: Callable[[], Iterable[Cell]]  # the cells of each budget, in the order in which they should be run
    paper: Callable[[], Iterable[Cell]] | None = None
    #: The paper's table with the same content, as `published.table` takes it. A cell's label is then the
    #: "setting" there, where there is one.
    published: tuple[str, int] | None = None

    def cells(self, budget: str = "quick") -> list[Cell]:
        """The runs of this budget, none if the table has no such; ValueError for one that is not known."""
        if budget not in BUDGETS:
            raise ValueError(f"there is no budget {budget!r}; choose one of {', '.join(BUDGETS)}")
        declared = {"quick": self.quick, "paper": self.paper}[budget]
        return [] if declared is None else list(declared())


def grid(
    table: str,
    runs: Mapping[tuple[str, str], Mapping[str, Any]],
    dataset: str,
    options: Mapping[str, Any],
    protocol: str,
    targets: Iterable[str | int],
    gammas: Iterable[float] = (0.0,),
    seeds: Iterable[int] = SEEDS,
    budget: str = "quick",
) -> Iterator[Cell]:
    """Every run, {(method, label): settings}, on every split: one seed after the other, target by target.

    What a sweep has done when it is stopped then compares all methods on the same targets.
    """
    for seed, target, gamma in product(seeds, [str(target) for target in targets], gammas):
        for (method, label), settings in runs.items():
            yield Cell(
                table, method, label, dataset, options, protocol, target, seed, settings, budget, gamma
            )
