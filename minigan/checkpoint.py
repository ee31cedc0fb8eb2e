"""Checkpoints: one safetensors file, with everything that is not a tensor as JSON in its header.

Such a file holds numbers and text only, so loading one executes nothing, whoever made it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = 1  # raised when the layout changes, so that an old program says so instead of guessing
KEY = "minigan"  # where the JSON stands in safetensors' own header


def write(path: str | Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint; a killed process leaves the old file or the new one, never half of one.

    Raises:
        FileNotFoundError: the folder that it shall stand in does not exist.
        IsADirectoryError: `path` is itself a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; pass the path of a file to save into")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to save into; make it first")
    # Paths and numpy's numbers, which people do pass as hyperparameters, become text and plain numbers.
    text = json.dumps(
        {"format": FORMAT, **header}, default=lambda v: v.item() if hasattr(v, "item") else str(v)
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Clones, because safetensors refuses tensors that share memory.
        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            temporary,
            {KEY: text},
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write` wrote: (header, tensors).

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, not written by minigan, or of a version this program does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{str(path)!r} is not a complete safetensors file ({error}); it may be truncated: copy it again"
        ) from error
    try:
        header = json.loads(text or "")
    except (ValueError, RecursionError):  # no JSON, or made to break a reader: endless digits or brackets
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("class"), str):
        raise ValueError(f"{str(path)!r} was not written by minigan: load takes what a detector's save wrote")
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{str(path)!r} has checkpoint version {header.get('format')!r}, this program reads version "
            f"{FORMAT}; install the minigan version that wrote it"
        )
    return header, tensors
