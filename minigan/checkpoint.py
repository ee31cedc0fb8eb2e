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

#: Version of the layout. A change raises it, so that an older program refuses the file instead of guessing.
FORMAT = 1
#: The entry in safetensors' own header that holds the JSON.
KEY = "minigan"


def write(path: str | Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint; a killed process leaves the old file or the new one, never half of one.

    Raises:
        FileNotFoundError: the folder to save into does not exist.
        IsADirectoryError: `path` is itself a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"expected a file to save into, got {str(path)!r}, which is a folder; pass the path of a file"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"expected a folder to save into, got {str(path.parent)!r}, which does not exist; make it first"
        )
    text = json.dumps({"format": FORMAT, **header}, default=_plain)
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
        ValueError: the file is truncated, not written by minigan, or of a version unknown to this program.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint, got {str(path)!r}, which is not a file; pass the path of one that "
            "`save` wrote"
        )
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"expected a complete safetensors file, got {str(path)!r} ({error}); copy it again, it may be "
            "truncated"
        ) from error
    try:
        header = json.loads(text or "")
    except (ValueError, RecursionError):  # no JSON, or made to break a reader: endless digits or brackets
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("class"), str):
        raise ValueError(
            f"expected a checkpoint of minigan, got {str(path)!r}, which something else wrote; pass a file "
            "that a detector's `save` wrote"
        )
    if header.get("format") != FORMAT:
        raise ValueError(
            f"expected checkpoint version {FORMAT}, got version {header.get('format')!r} in {str(path)!r}; "
            "install the version of minigan that wrote it"
        )
    return header, tensors


def _plain(value: Any) -> Any:
    """Hyperparameters that JSON does not know: numpy's numbers become plain numbers, paths become text."""
    return value.item() if hasattr(value, "item") else str(value)
