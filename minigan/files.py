"""Files that are replaced whole: a reader finds the old content or the new, never half of either. No torch.

    with replacing("scores.csv") as temporary:
        table.to_csv(temporary)

Whatever ends the block early, an error, a full disk or a killed process, leaves the old file as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The path of a temporary file to write, which takes the place of `path` when the block ends.

    The temporary file has the same name, in a hidden folder beside `path`, so that what depends on a name
    (its length, or a suffix such as .gz) is the same for both. A symbolic link stays one, and the file that
    it points to is replaced. The permissions of an old file are kept.

    Raises:
        IsADirectoryError, FileNotFoundError: `path` is a folder, or lies in one that does not exist.
        OSError: `path` is a device or a pipe, which nothing can take the place of, or the operating system
            refuses.
    """
    with trying(path) as temporary:
        yield temporary
        target = Path(os.path.realpath(path))
        if target.exists():
            shutil.copymode(target, temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # some disks tell only now that they are full
        os.replace(temporary, target)


@contextmanager
def trying(path: str | Path) -> Iterator[Path]:
    """As `replacing`, but what is written is thrown away: to learn in time whether `path` can be replaced."""
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise IsADirectoryError(
            f"expected a file to save into, got {str(path)!r}, which is a folder; pass the path of a file"
        )
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(
            f"expected a file to save into, got {str(path)!r}, which is a device or a pipe; pass the path of "
            "a file"
        )
    parent = target.parent if os.path.islink(path) else Path(path).parent
    if not parent.is_dir():
        raise FileNotFoundError(
            f"expected a folder to save into, got {str(parent)!r}, which does not exist; make it first"
        )
    with TemporaryDirectory(".tmp", ".minigan-", target.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder) / target.name
