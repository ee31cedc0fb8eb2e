"""Checkpoints: one safetensors file, with everything that is not a tensor as JSON in its header.

Such a file holds numbers and text only, so loading one executes nothing, whoever made it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from minigan.files import replacing

#: Version of the layout. A change raises it, so that an older program refuses the file instead of guessing.
FORMAT = 1
#: The entry in safetensors' own header that holds the JSON.
KEY = "minigan"
#: What the code that makes a detector of a header and tensors raises where these do not fit together.
DAMAGED = (LookupError, TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError, MemoryError)


def write(path: str | Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint; a killed process leaves the old file or the new one, never half of one.

    Raises:
        FileNotFoundError: the folder to save into does not exist.
        IsADirectoryError: `path` is itself a folder.
    """
    text = json.dumps({"format": FORMAT, **header}, default=plain)
    # Clones, because safetensors refuses tensors that share memory.
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        # Not `save_file`, which hides the file from other users and an error of the disk from the caller.
        temporary.write_bytes(save(whole, {KEY: text}))


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
        content = path.read_bytes()  # Python opens any name, safetensors only one that is UTF-8
        tensors = load(content)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"expected a complete safetensors file, got {str(path)!r} ({error}); copy it again, it may be "
            "truncated"
        ) from error
    # That `load` took it says that the file starts with a length in 8 bytes and JSON of that length.
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        header = json.loads((about.get("__metadata__") or {}).get(KEY, ""))
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


def plain(value: Any) -> Any:
    """Hyperparameters that JSON does not know: numpy's numbers become plain numbers, paths become text."""
    return value.item() if hasattr(value, "item") else str(value)
