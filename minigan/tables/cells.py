"""What an experiment is: a cell, which is one run, and a table, which is a list of cells.

The other modules of `minigan.tables` declare them, `minigan.experiments` runs and records them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import product
from typing import Any

from minigan.checks import require
from minigan.defaults import BUDGETS as BUDGETS  # part of what this module declares

#: What identifies a cell, in the order of the columns of a record.
KEY = ("method", "label", "dataset", "options", "protocol", "target", "gamma", "seed", "settings", "budget")

SEEDS = range(3)

#: Protocols that put anomalies into the training set.
WITH_ANOMALIES = ("contaminated", "supervised")
#: Protocols that determine by themselves what is normal, so that a target is just a name. Their validation
#: images include anomalies.
WITHOUT_TARGET = ("defects", "objects")

#: What is compared on one split: {(method, label): hyperparameters that differ from the defaults}.
Runs = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One run of one table: a method with its hyperparameters, on one split of one data set."""

    #: Name of the table that declares it.
    table: str
    #: Name of the detector class.
    method: str
    #: A short name for these settings; "" where a method stands in the table only once.
    label: str
    #: Name of the data set, and options of `data.load`.
    dataset: str
    options: Mapping[str, Any]
    #: Name of a function of `protocols`.
    protocol: str
    #: The class that is normal or left out; just a name for the protocols `WITHOUT_TARGET`.
    target: str
    #: Seed of the split and of the detector.
    seed: int
    #: Hyperparameters that differ from the method's defaults.
    settings: Mapping[str, Any]
    #: One of `BUDGETS`.
    budget: str = "quick"
    #: Fraction of anomalies in the training set, for the protocols `WITH_ANOMALIES`.
    gamma: float = 0.0
    #: Arguments of the protocol that differ from its defaults, beside target, gamma and seed: fractions.
    split: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", float(self.gamma))  # 0 and 0.0 are one cell, so have one key
        require(
            self.gamma == 0 or self.protocol in WITH_ANOMALIES,
            f"expected gamma to be 0 with the protocol {self.protocol!r}, which has no anomalies in its "
            f"training set, got {self.gamma}; use {' or '.join(WITH_ANOMALIES)}",
        )

    def __str__(self) -> str:
        label = f" ({self.label})" if self.label else ""
        gamma = f", gamma {self.gamma:g}" if self.gamma else ""
        return f"{self.table}: {self.method}{label}, {self.protocol} {self.target}{gamma}, seed {self.seed}"

    @property
    def protocol_call(self) -> str:
        """The protocol as a record names it: "defects", or with arguments "defects(training=0.8)"."""
        arguments = ", ".join(f"{name}={value}" for name, value in sorted(self.split.items()))
        return f"{self.protocol}({arguments})" if arguments else self.protocol

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The cell as text, in the order of `KEY`: the same for equal cells, and as it stands in the file.

        Arguments of the protocol stand in its column (`protocol_call`), so that a cell without any has the
        key that it had before there were some.
        """
        values = [self.protocol_call if name == "protocol" else getattr(self, name) for name in KEY]
        texts = [json.dumps(v, sort_keys=True) if isinstance(v, Mapping) else str(v) for v in values]
        return tuple(texts)

    @property
    def training(self) -> tuple[str, ...]:
        """What is trained, as text: the same for cells that differ only in label and `scored_by`.

        With the protocols `WITHOUT_TARGET` it is the whole key, because there the score takes part in the
        training: it chooses the epoch.
        """
        if self.protocol in WITHOUT_TARGET:
            return self.key
        settings = {name: value for name, value in self.settings.items() if name != "scored_by"}
        return replace(self, label="", settings=settings).key


@cache
def _once(declare: Callable[[], Iterable[Cell]]) -> tuple[Cell, ...]:
    """What a table declares, asked for once: some have thousands of cells, and every page wants them."""
    return tuple(declare())


@dataclass(frozen=True)
class Table:
    """A set of cells under one name. It may include cells of other tables, whose records it then shares."""

    name: str
    title: str
    #: The cells of each budget, in the order in which they should be run.
    quick: Callable[[], Iterable[Cell]]
    paper: Callable[[], Iterable[Cell]] | None = None
    #: The paper's table that this one repeats, (paper, number), as `published.table` takes it. A cell's label
    #: is then the "setting" there, where there is one.
    published: tuple[str, int] | None = None
    long: Callable[[], Iterable[Cell]] | None = None

    def cells(self, budget: str = "quick") -> list[Cell]:
        """The runs of this budget: an empty list if none are declared, ValueError for an unknown budget."""
        require(budget in BUDGETS, f"expected a budget, got {budget!r}; choose one of {', '.join(BUDGETS)}")
        declared = {"quick": self.quick, "long": self.long, "paper": self.paper}[budget]
        return [] if declared is None else list(_once(declared))

    def owns(self, cell: Cell) -> bool:
        """Whether a cell was declared for this table, and not taken from another one.

        A paper often prints a row twice: the full method of its main table opens the ablation, too. Our table
        of the ablation then includes that cell, but owns only the variants. As long as none of the cells that
        it owns has been run, the table's question has not been answered, whatever the borrowed row says.
        """
        return cell.table == self.name


def grid(
    table: str,
    runs: Runs,
    dataset: str,
    options: Mapping[str, Any],
    protocol: str,
    targets: Iterable[str | int],
    gammas: Iterable[float] = (0.0,),
    seeds: Iterable[int] = SEEDS,
    budget: str = "quick",
    split: Mapping[str, Any] | None = None,
) -> Iterator[Cell]:
    """Every run, {(method, label): settings}, on every split: one seed after the other, target by target.

    A sweep that is stopped half-way has then compared all methods on the same targets.
    """
    for seed, target, gamma in product(seeds, [str(target) for target in targets], gammas):
        for (method, label), settings in runs.items():
            yield Cell(
                table=table,
                method=method,
                label=label,
                dataset=dataset,
                options=options,
                protocol=protocol,
                target=target,
                seed=seed,
                settings=settings,
                budget=budget,
                gamma=gamma,
                split=split or {},
            )
