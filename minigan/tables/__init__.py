"""What is run: every table of experiments, declared once as the list of its cells.

    tables.table("ygan-1").cells("quick")    # the runs that repeat Table 1 of Y-GAN's paper, in small
    tables.ygan.ABLATIONS["A1"]              # hyperparameters of an ablation in its Table 5

`digits` has the tables for a laptop; `ygan`, `agad`, `adegan`, `algan` and `simultaneous_encoder` have those
of the papers, with the same data, splits, targets and settings; `every_method` goes beyond them. Labels are
the "setting" of the published numbers, so that each finds its partner; a label without one there is ours.
Beside the methods stand classical baselines: what scikit-learn does with the same images in seconds.

A new table is a function that yields cells and a `Table` made of it, in the file of its paper, and a line in
`TABLES` here; or in a file of one's own, for `from_file`. No module of this package imports torch.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from minigan.checks import require
from minigan.tables import (
    adegan,
    agad,
    algan,
    cells,
    digits,
    every_method,
    family,
    settings,
    simultaneous_encoder,
    ygan,
)
from minigan.tables.cells import (
    BUDGETS,
    KEY,
    SEEDS,
    WITH_ANOMALIES,
    WITHOUT_TARGET,
    Cell,
    Table,
    grid,
)
from minigan.tables.settings import BASELINES, CLASSICAL, IMAGES, QUICK, TARGETS

__all__ = [
    "BASELINES",
    "BUDGETS",
    "CLASSICAL",
    "IMAGES",
    "KEY",
    "QUICK",
    "SEEDS",
    "TABLES",
    "TARGETS",
    "WITHOUT_TARGET",
    "WITH_ANOMALIES",
    "Cell",
    "Table",
    "adegan",
    "agad",
    "algan",
    "cells",
    "digits",
    "every_method",
    "from_file",
    "family",
    "grid",
    "settings",
    "simultaneous_encoder",
    "table",
    "ygan",
]

#: Every table by its name, in the order in which `minigan reproduce --next` takes them up.
TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        digits.DIGITS,
        digits.ALGAN_DIGITS_READINGS,
        digits.ALGAN_7_TEXTURES,
        digits.YGAN_DIGITS,
        digits.YGAN_DIGITS_READINGS,
        digits.AGAD_DIGITS,
        digits.AGAD_DIGITS_GAMMA,
        digits.ADEGAN_DIGITS,
        digits.ADEGAN_DIGITS_READINGS,
        digits.ADEGAN_DIGITS_PATTERNS,
        digits.SIMULTANEOUS_ENCODER_DIGITS,
        digits.SIMULTANEOUS_ENCODER_DIGITS_LOSSES,
        family.FAMILY_DIGITS,
        family.LABELLED_DIGITS,
        ygan.TABLE_1,
        adegan.TABLE_1,
        agad.TABLE_1,
        family.ONE_CLASS,
        agad.READINGS,
        algan.TABLE_1,
        simultaneous_encoder.TABLE_2,
        ygan.READINGS,
        every_method.BRIGHTNESS_LEFT_OUT,
        every_method.BRIGHTNESS_ONE_CLASS,
        every_method.MNIST,
        ygan.TABLE_2,
        ygan.TABLE_3,
        algan.TABLE_3,
        every_method.MTD_SPLIT,
        algan.TABLE_4,
        ygan.TABLE_4,
        algan.TABLE_7,
        adegan.FIGURE_3,
        every_method.CONTAMINATION,
        agad.TABLE_9,
        ygan.TABLE_6,
        ygan.FIGURE_8,
        adegan.TABLE_2,
        agad.TABLE_4,
        agad.TABLE_2,
        ygan.TABLE_5,
        agad.TABLE_5,
        agad.TABLE_3,
        simultaneous_encoder.TABLE_1,
        algan.TABLE_2,
    )
}


def table(name: str) -> Table:
    """The table of this name; ValueError with a list when there is none."""
    require(name in TABLES, f"expected the name of a table, got {name!r}; choose one of {', '.join(TABLES)}")
    return TABLES[name]


#: Those that minigan declares; `from_file` adds others to `TABLES`.
_OF_MINIGAN = frozenset(TABLES)


def from_file(path: str | Path) -> Table:
    """A table of one's own from a Python file, which joins `TABLES` until the process ends.

    The file, whose code is run, gives a name to one `Table`, as the modules of this package do::

        from minigan.tables import SEEDS, Table, grid

        def _cells():
            runs = {("GANomaly", ""): {"epochs": 5}, ("PCA", ""): {}}
            yield from grid("mine", runs, "digits", {"size": 16}, "one_class", range(10), seeds=SEEDS)

        MINE = Table("mine", "GANomaly and PCA on digits", _cells)

    Raises:
        ValueError: there is no such file, its code fails, it declares none or several tables, one of
            minigan's names, a name that cannot be that of a file, or what are no cells of its table.
    """
    require(Path(path).is_file(), f"expected a Python file with a table, got {str(path)!r}, which is no file")
    known = {id(table) for table in TABLES.values()}  # that the file may have imported
    try:
        values = runpy.run_path(str(path)).values()
    except Exception as error:  # its code may raise anything
        raise ValueError(
            f"expected Python code that runs, got {str(path)!r}, which fails "
            f"({type(error).__name__}: {error}); run it with python to see where"
        ) from error
    found = {id(value): value for value in values if isinstance(value, Table)}
    own = [table for key, table in found.items() if key not in known]
    require(len(own) == 1, f"expected one table in {str(path)!r}, got {len(own)}; name one `Table` in it")
    (mine,) = own
    require(
        mine.name not in _OF_MINIGAN and re.fullmatch(r"\w[\w.-]*", mine.name) is not None,
        f"expected a name of letters and digits that no table of minigan has, got {mine.name!r}; rename it",
    )
    declared = [cell for budget in BUDGETS for cell in mine.cells(budget)]
    names = {getattr(cell, "table", repr(cell)) for cell in declared} - {mine.name, *TABLES}
    strange = ", ".join(sorted(names))
    require(not names, f"expected cells of the table {mine.name!r}, got some of {strange}; name it in them")
    TABLES[mine.name] = mine
    return mine
