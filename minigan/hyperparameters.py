"""The hyperparameters of a method, with the comments that explain them in its source.

    for parameter in hyperparameters(minigan.ALGAN):
        print(parameter.name, parameter.default, parameter.text)

A hyperparameter is a dataclass field, and the comment lines above it that begin with `#:` say what it means.
`minigan methods ALGAN` and the book's API page take them from here, so they are written only once.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter of a method: what it is called, what it may be, and what it means."""

    name: str
    type_text: str  # such as "int | None"
    default: Any
    text: str  # the comment, as one paragraph; "" without one
    owner: str  # the class that declares it: the method itself, or a base class


def hyperparameters(detector: type) -> list[Hyperparameter]:
    """All hyperparameters of a detector class: its own ones first, then the inherited ones, as declared.

    The text is the comment directly above the field. A field without one, whose base class explains the same
    name, means what it means there. Otherwise it belongs to the group of fields that begins with the last
    comment: one comment on `lambda_rec` serves `lambda_adv` on the next line.
    """
    fields = dataclasses.fields(detector)
    return _own_first(detector, [_describe(detector, field.name, field.default) for field in fields])


def class_variables(detector: type) -> list[Hyperparameter]:
    """The class variables of a detector class in the same form: `gradient_flow`, `init_std`, `takes`, ...

    They are facts about the method, not settings; `default` is their value.
    """
    hints = typing.get_type_hints(detector)
    names = [name for name, hint in hints.items() if ClassVar in (hint, typing.get_origin(hint))]
    return _own_first(detector, [_describe(detector, name, getattr(detector, name)) for name in names])


def _own_first(detector: type, entries: Sequence[Hyperparameter]) -> list[Hyperparameter]:
    own = [entry for entry in entries if entry.owner == detector.__name__]
    return own + [entry for entry in entries if entry.owner != detector.__name__]


def _describe(detector: type, name: str, default: Any) -> Hyperparameter:
    declaring = [cls for cls in detector.__mro__ if name in inspect.get_annotations(cls)]  # the nearest first
    hints = [typing.get_type_hints(cls)[name] for cls in declaring]
    # A bare ClassVar repeats the type of the base class.
    hint = next((hint for hint in hints if hint is not ClassVar), ClassVar)
    return Hyperparameter(name, _type_text(hint), default, _text(name, declaring), declaring[0].__name__)


def _type_text(hint: Any) -> str:
    """A type as it is written in code, with aliases spelled out: "tuple[int, ...]", "str | None"."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is ClassVar:
        return _type_text(inside[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_type_text, inside))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inside))}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type_text, inside))}]"
    if hint is type(None):
        return "None"
    if hint is Ellipsis:
        return "..."
    package = hint.__module__.split(".")[0]
    return hint.__name__ if package in ("builtins", "typing") else f"{package}.{hint.__name__}"


def _text(name: str, declaring: Sequence[type]) -> str:
    """The comment directly above the name, else that of a base class, else that of its group."""
    if not declaring:
        return ""
    comment, group_comment = _comments(declaring[0])[name]
    return comment or _text(name, declaring[1:]) or group_comment


@cache
def _comments(cls: type) -> dict[str, tuple[str, str]]:
    """Each annotated name in the source of one class: the comment directly above it, and that of its group.

    A group is of consecutive lines; its comment stands above the first of them.
    """
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    definition = typing.cast(ast.ClassDef, ast.parse(source).body[0])
    comments: dict[str, tuple[str, str]] = {}
    group_comment, last_line = "", 0
    for node in definition.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        comment = _comment_above(lines, node.lineno)
        if comment or last_line != node.lineno - 1:  # a new comment, or a gap: a new group
            group_comment = comment
        comments[node.target.id] = comment, group_comment
        last_line = node.end_lineno or node.lineno
    return comments


def _comment_above(lines: Sequence[str], number: int) -> str:
    """The comment lines `#: ...` that end directly above line `number`, counted from 1, as one text."""
    comment: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#:"):
            break
        comment.insert(0, line.strip().removeprefix("#:").strip())
    return " ".join(comment)
