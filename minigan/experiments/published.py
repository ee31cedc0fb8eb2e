"""Numbers printed in the papers, to compare ours with; and whether they agree with each other.

    published.table("ygan", 1)        # Table 1 of Y-GAN's paper: one row for each number
    published.mismatched_means()      # printed means that are not the mean of the numbers beside them
    published.contradictions()        # one result, printed twice, differently

There is one CSV file for each paper in `data/published/` of the checkout; `data/README.md` explains the
columns, and says what of the papers could not be read. Names are those of `data`, `protocols` and the
detectors.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from minigan.checks import require
from minigan.paths import ROOT

FOLDER = ROOT / "data" / "published"

COLUMNS = (
    "paper",
    "table",
    "dataset",
    "protocol",
    "gamma",
    "setting",
    "method",
    "target",
    "metric",
    "value",
    "std",
)
NUMBERS = ("gamma", "value", "std")

#: Targets that stand for several: the mean over all, and over MVTec AD's 5 textures and 10 objects.
MEAN = "mean"
GROUPS = {"texture": 5, "object": 10}

#: How far rounding to three decimals can move a mean: half a unit in the mean itself, and as much in the
#: numbers that it was computed from. The standard deviation (divided by n) moves no further.
TOLERANCE = 2 * 0.0005


def papers() -> list[str]:
    """The papers with a file, in alphabetical order; FileNotFoundError if there is none."""
    found = sorted(path.stem for path in FOLDER.glob("*.csv"))
    if not found:
        raise FileNotFoundError(
            f"expected published numbers in {str(FOLDER)!r}, got no file; use a checkout of minigan, an "
            "installed package does not include them"
        )
    return found


def table(paper: str, number: int | None = None) -> pd.DataFrame:
    """The numbers of one table of a paper, or of all its tables, as rows with `COLUMNS` in the file's order.

    "gamma", "value" and "std" are floats, with NaN where the paper prints no standard deviation; all else is
    text. Raises ValueError for a paper or a table that is not there.
    """
    known = papers()
    require(paper in known, f"expected a paper, got {paper!r}; choose one of {', '.join(known)}")
    rows = _read(FOLDER / f"{paper}.csv")
    if number is None:
        return rows.copy()
    numbered = list(dict.fromkeys(rows["table"]))
    require(
        f"table{number}" in numbered,
        f"expected a table of {paper!r}, got table {number!r}; choose one of {', '.join(numbered)}",
    )
    return rows[rows["table"] == f"table{number}"].reset_index(drop=True)


def everything() -> pd.DataFrame:
    """The numbers of all papers below each other; columns as in `table`."""
    return pd.concat([_read(FOLDER / f"{paper}.csv") for paper in papers()], ignore_index=True)


def means() -> pd.DataFrame:
    """Every printed mean whose own numbers are printed too, beside the mean of these.

    Columns, after those that name the result: "n" numbers; "printed" and "recomputed" mean, and "difference"
    (printed minus recomputed); "printed_std" (NaN where there is none), and the standard deviation of the
    numbers divided by n ("std_n") and by n - 1 ("std_n1"): papers do not say which one they print.
    """
    which = ["paper", "table", "dataset", "gamma", "setting", "method", "metric"]
    rows = everything()
    several = rows.groupby(which)["value"].transform("size") > 2  # a mean and at least two more
    found = []
    for names, result in rows[several].groupby(which, sort=False):
        values = result.set_index("target")[["value", "std"]]
        if MEAN not in values.index:
            continue
        own = values["value"].drop(index=MEAN)
        weights = [GROUPS.get(target, 1) for target in own.index]
        one_by_one = not own.index.isin(list(GROUPS)).any()
        found.append(
            {
                **dict(zip(which, names, strict=True)),
                "n": sum(weights),
                "printed": values.at[MEAN, "value"],
                "recomputed": np.average(own, weights=weights),
                "printed_std": values.at[MEAN, "std"],
                "std_n": own.std(ddof=0) if one_by_one else np.nan,
                "std_n1": own.std(ddof=1) if one_by_one else np.nan,
            }
        )
    frame = pd.DataFrame(found)
    frame.insert(frame.columns.get_loc("printed_std"), "difference", frame["printed"] - frame["recomputed"])
    return frame


def mismatched_means() -> pd.DataFrame:
    """The rows of `means` whose printed mean is off by more than rounding explains (`TOLERANCE`)."""
    found = means()
    return found[found["difference"].abs() > TOLERANCE + 1e-9].reset_index(drop=True)


def mismatched_deviations() -> pd.DataFrame:
    """The rows of `means` whose printed standard deviation is neither "std_n" nor "std_n1" (`TOLERANCE`)."""
    found = means()
    off = found[["std_n", "std_n1"]].sub(found["printed_std"], axis=0).abs().min(axis=1)
    return found[off > TOLERANCE + 1e-9].reset_index(drop=True)


def contradictions() -> pd.DataFrame:
    """Results that a paper prints in several tables with several values: one row for each such table."""
    rows = everything()
    # Without labelled anomalies, `supervised` is `one_class`: the protocol's name need not agree.
    which = [name for name in COLUMNS if name not in ("table", "protocol", "value", "std")]
    several = rows.groupby(which)["value"].transform("nunique") > 1
    return rows[several].sort_values(which, kind="stable").reset_index(drop=True)


@cache
def _read(path: Path) -> pd.DataFrame:
    """A paper's file; empty fields are empty text, and NaN for a standard deviation."""
    types = {name: float if name in NUMBERS else str for name in COLUMNS}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"std": [""]})
