"""The folders minigan works in: the checkout, and the data folder with data sets and results. No torch."""

from __future__ import annotations

import os
from pathlib import Path

#: The folder of the checkout, where this is one; site-packages where minigan is installed.
ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """The folder of data sets and `results/`: $MINIGAN_DATA if set, else `data` in the checkout.

    Without a checkout it is `data` in the current folder. It need not exist.
    """
    if os.environ.get("MINIGAN_DATA"):
        return Path(os.environ["MINIGAN_DATA"]).resolve()
    checkout = (ROOT / "pyproject.toml").is_file()
    return (ROOT if checkout else Path.cwd()) / "data"
