"""Checks of what a user passes: one way to test a value, one dialect for the message. Imports no torch.

Every message of minigan reads "expected ..., got ...; do ...", without a period at its end.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def is_whole_number(value: Any) -> bool:
    """Whether it is a whole number of Python or numpy; True and False do not count as numbers."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_finite_number(value: Any) -> bool:
    """Whether it is a finite number of Python or numpy; True and False do not count as numbers."""
    return is_whole_number(value) or (isinstance(value, float | np.floating) and bool(np.isfinite(value)))


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value is of an annotated type, as minigan's hyperparameters use them.

    `int` takes numpy's whole numbers too, `float` any finite number, a tuple also a list; True and False are
    no numbers. A `Literal` takes its values only.
    """
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, kind) for kind in inside)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inside)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if inside[-1] is Ellipsis:
            return all(fits(item, inside[0]) for item in value)
        return len(value) == len(inside) and all(map(fits, value, inside))
    if annotation is float:
        return is_finite_number(value)
    if annotation is int:
        return is_whole_number(value)
    if annotation is bool:
        return isinstance(value, bool | np.bool_)
    if annotation is None or annotation is type(None):
        return value is None
    return isinstance(value, annotation)


def describe(annotation: Any) -> str:
    """An annotated type in words: `int | None` -> "a whole number or None"."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _listed([describe(kind) for kind in inside])
    if origin is Literal:
        return _listed([repr(choice) for choice in inside])
    if origin is tuple:
        if inside[-1] is Ellipsis:
            return f"a tuple, each item {describe(inside[0])}"
        return f"a tuple of {len(inside)}, each item {describe(inside[0])}"
    words = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}
    words |= {Path: "a path", type(None): "None"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise a ValueError unless `value` is of the annotated type, with a message that names the parameter."""
    require(fits(value, annotation), f"expected {name} to be {describe(annotation)}, got {value!r}")


def _listed(words: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b or c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
