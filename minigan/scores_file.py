"""The table of scores that `minigan score` writes or prints, which is not lost whatever fails. No torch.

`rehearse` writes the table without scores before the training, so that what would fail afterwards fails then.
`deliver` replaces the old file by a whole one, or prints. Where that fails in spite of the rehearsal (a disk
that is full by now, a folder that is gone, a reader that has died), it prints the table elsewhere.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from minigan.checks import require
from minigan.files import replacing, trying
from minigan.image_files import reason

if TYPE_CHECKING:
    import pandas as pd


def rehearse(table: pd.DataFrame, out: str | None) -> None:
    """Write the table as `deliver` will, and throw it away. `out` is the path of a CSV file, None to print.

    Raises:
        OSError, ValueError: one sentence on why the table cannot be written.
    """
    if out is None:
        require(
            sys.stdout is not None,
            "expected standard output to print a table to, got a closed one; pass --out FILE",
        )
        return
    if is_standard_output(out):
        return
    try:
        if os.path.isfile(out):
            open(out, "r+b").close()  # refused for a protected file, which could be replaced all the same
        if not _is_device(out):
            with trying(out) as temporary:
                _write_csv(table, temporary)
    except (OSError, ValueError, ImportError) as error:  # ImportError: of a compression, as in scores.csv.zst
        if isinstance(error, OSError) and error.errno is None:
            raise  # a sentence of our own
        raise OSError(
            f"expected --out to be a file that can be written, got {out!r} ({reason_of(error)}); pass "
            "another path, or leave --out away to print the table"
        ) from error


def deliver(table: pd.DataFrame, out: str | None) -> None:
    """Write the table to the CSV file `out`, or print it for None.

    A file is replaced whole. A device or a pipe is written to; standard output under its other names, such as
    /dev/stdout, gets CSV.

    Raises:
        OSError: that failed, and the table went to standard output or, where it cannot, to standard error.
    """
    printed = out is None or is_standard_output(out)
    try:
        if out is None:
            _print(table.to_string(index=False) + "\n")
        elif printed:
            _print(_csv(table), raw=True)
        elif _is_device(out):
            _write_csv(table, Path(out))
        else:
            with replacing(out) as temporary:
                _write_csv(table, temporary)
    except Exception as error:
        where = _rescue(table, stdout=not printed)
        if not isinstance(error, OSError):
            raise  # a bug, but not at the cost of the scores
        name = "standard output" if printed else repr(out)
        raise OSError(
            f"expected to write the table to {name}, got an error ({reason_of(error)}); it was printed to "
            f"{where} instead"
        ) from error


def is_standard_output(out: str) -> bool:
    """Whether a path is another name of standard output: /dev/stdout, or the file that it is sent to."""
    try:
        return os.path.samestat(os.fstat(sys.stdout.fileno()), os.stat(out))
    except (OSError, ValueError, AttributeError):  # no such file, or no file of the system behind sys.stdout
        return False


def _is_device(path: str) -> bool:
    """Whether something is there that no file can take the place of; folders do not count."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    """A CSV file in UTF-8, compressed if its suffix says so; file names keep bytes that are not UTF-8.

    Or, if its suffix says so, JSON: a list of objects with the names of the columns.
    """
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(table.to_dict("records"), indent=1) + "\n", encoding="utf-8")
        return
    table.to_csv(path, index=False, encoding="utf-8", errors="surrogateescape", quoting=_quoting(table))


def _csv(table: pd.DataFrame) -> str:
    """The text of that file."""
    return table.to_csv(index=False, quoting=_quoting(table))


def _quoting(table: pd.DataFrame) -> int:
    # Python's csv module puts names with a line break into quotes, but not those with a lone "\r".
    odd = table["file"].str.contains("\r", regex=False).any()
    return csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL


def _print(text: str, raw: bool = False) -> None:
    """Print a table; `raw`: in the bytes that a file would have, whatever the encoding of the terminal.

    A reader that is gone after the first line, such as `head`, has seen enough.
    """

    def put(part: str) -> None:
        if raw and hasattr(sys.stdout, "buffer"):
            sys.stdout.flush()
            sys.stdout.buffer.write(part.encode("utf-8", "surrogateescape"))
        else:
            sys.stdout.write(part)
        sys.stdout.flush()

    header, line_break, rows = text.partition("\n")
    put(header + line_break)
    with suppress(BrokenPipeError):
        put(rows)


def _rescue(table: pd.DataFrame, stdout: bool) -> str:
    """Print a table that could not be written; returns where it was printed."""
    if stdout and sys.stdout is not None:
        with suppress(OSError):
            _print(_csv(table), raw=True)
            return "standard output"
    print(_csv(table), end="", file=getattr(sys.stderr, "loud", sys.stderr), flush=True)  # even if --quiet
    return "standard error"


def reason_of(error: Exception) -> str:
    """The words of an error without its number and path, which the sentence around them names."""
    return error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
