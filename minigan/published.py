"""Numbers printed in the papers, to hold ours against; and whether they agree with themselves.

    published.table("ygan", 1)        # Table 1 of Y-GAN's paper: one row for each number
    published.mismatched_means()      # printed means that are not the mean of the numbers beside them
    published.contradictions()        # one result, printed twice, differently

One CSV file for each paper lies in `data/published/` of the checkout; `data/README.md` explains the columns,
and says what of the papers could not be read. Names are those of `data`, `protocols` and the detectors.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

FOLDER = Path(__file__).resolve().parents[1] / "data" / "published"

COLUMNS = (
    *("paper", "table", "dataset", "protocol", "gamma", "setting", "method", "target", "metric"),
    *("value", "std"),
)
NUMBERS = ("gamma", "value", "std")

#: Targets that stand for several: the mean over all, and over MVTec AD's 5 textures and 10 objects.
MEAN = "mean"
GROUPS = {"texture": 5, "object": 10}

#: What rounding to three decimals can do to a mean: half a unit in the mean itself, and as much in the
#: numbers it was taken of. The standard deviation (divided by n) moves no further.
TOLERANCE = 2 * 0.0005


def papers() -> list[str]:
    """The papers with a file, in alphabetical order. None: FileNotFoundError."""
    found = sorted(path.stem for path in FOLDER.glob("*.csv"))
    if not found:
        raise FileNotFoundError(
            f"there are no published numbers in {str(FOLDER)!r}; they come with a checkout of minigan, not "
            "with an installed package."
        )
    return found


def table(paper: str, number: int | None = None) -> pd.DataFrame:
    """The numbers of one table of a paper, or of all, as rows with `COLUMNS`, in the order of the file.

    "gamma", "value" and "std" are floats, with NaN where the paper prints no deviation; all else is text.
    Raises ValueError for a paper or a table that is not there.
    """
    if paper not in papers():
        raise ValueError(f"there are no numbers of {paper!r}: choose one of {', '.join(papers())}.")
    rows = _read(FOLDER / f"{paper}.csv")
    if number is None:
        return rows.copy()
    known = list(dict.fromkeys(rows["table"]))
    if f"table{number}" not in known:
        raise ValueError(f"there is no table {number!r} of {paper!r}: there are {', '.join(known)}.")
    return rows[rows["table"] == f"table{number}"].reset_index(drop=True)


def everything() -> pd.DataFrame:
    """The numbers of all papers below each other; columns as in `table`."""
    return pd.concat([_read(FOLDER / f"{paper}.csv") for paper in papers()], ignore_index=True)


def means() -> pd.DataFrame:
    """Every printed mean whose own numbers are printed too, beside the mean of these.

    Columns, after those that name the result: "n" numbers; "printed" and "recomputed" mean, and "difference"
    (printed minus recomputed); "printed_std" (NaN where there is none), and the standard deviation of the
    numbers divided by n ("std_n") and by n - 1 ("std_n1"): papers do not say which one they take.
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
    found = pd.DataFrame(found)
    found.insert(found.columns.get_loc("printed_std"), "difference", found["printed"] - found["recomputed"])
    return found


def mismatched_means() -> pd.DataFrame:
    """The rows of `means` whose printed mean is off by more than rounding explains (`TOLERANCE`)."""
    found = means()
    return found[found["difference"].abs() > TOLERANCE + 1e-9].reset_index(drop=True)


def mismatched_deviations() -> pd.DataFrame:
    """The rows of `means` whose printed deviation is neither "std_n" nor "std_n1", up to `TOLERANCE`."""
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
    """A paper's file; empty fields are empty text, and NaN for a deviation."""
    types = {name: float if name in NUMBERS else str for name in COLUMNS}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"std": [""]})
