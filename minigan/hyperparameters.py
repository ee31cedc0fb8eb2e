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
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Hyperparameter:
    """One hyperparameter of a method: what it is called, what it may be, and what it means."""

    name: str
    type_text: str  # the annotation, such as "int | None"
    default: Any
    text: str  # the comment, as one paragraph; "" without one
    owner: str  # the class that declares it: the method itself, or a base class


def hyperparameters(detector: type) -> list[Hyperparameter]:
    """All hyperparameters of a detector class: its own ones first, then the inherited ones, as declared.

    The text is the comment directly above the field. A field without one, whose base class explains the same
    name, means what it means there. Otherwise it belongs to the group of fields that begins with the last
    comment: one comment on `lambda_rec` serves `lambda_adv` on the next line.
    """
    found = [_describe(detector, field.name, field.default) for field in dataclasses.fields(detector)]
    own = [parameter for parameter in found if parameter.owner == detector.__name__]
    return own + [parameter for parameter in found if parameter.owner != detector.__name__]


def class_variables(detector: type) -> list[Hyperparameter]:
    """The class variables of a detector class in the same form: `gradient_flow`, `init_std`, `takes`, ...

    They are facts about the method, not settings; `default` is their value.
    """
    declared = [_declarations(cls) for cls in _classes(detector)]
    names = dict.fromkeys(name for each in declared for name in each if each[name].is_class_variable)
    return [_describe(detector, name, getattr(detector, name)) for name in names]


def _classes(detector: type) -> list[type]:
    """The detector class and its base classes, as far as they are dataclasses, the nearest first."""
    return [cls for cls in detector.__mro__ if dataclasses.is_dataclass(cls)]


def _describe(detector: type, name: str, default: Any) -> Hyperparameter:
    declaring = [cls for cls in _classes(detector) if name in _declarations(cls)]
    types = [_declarations(cls)[name].type_text for cls in declaring]
    type_text = next((text for text in types if text), "")  # a bare ClassVar repeats the type of the base
    return Hyperparameter(name, type_text, default, _text(name, declaring), declaring[0].__name__)


def _text(name: str, declaring: Sequence[type]) -> str:
    """The comment directly above the name, else that of a base class, else that of its group."""
    if not declaring:
        return ""
    declaration = _declarations(declaring[0])[name]
    return declaration.comment or _text(name, declaring[1:]) or declaration.group_comment


@dataclass(frozen=True)
class _Declaration:
    """An annotated name in the body of a class."""

    type_text: str  # "" for a bare ClassVar
    is_class_variable: bool
    comment: str  # directly above it
    group_comment: str  # above the first of the lines that it stands among


@cache
def _declarations(cls: type) -> dict[str, _Declaration]:
    """The annotated names in the source of one class, without those of its base classes."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines = source.splitlines()
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    declarations, group_comment, last_line = {}, "", 0
    for node in definition.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        comment = _comment_above(lines, node.lineno)
        if comment or last_line != node.lineno - 1:  # a new comment, or a gap: a new group
            group_comment = comment
        type_text = ast.unparse(node.annotation)
        declarations[node.target.id] = _Declaration(
            type_text=re.sub(r"^ClassVar\[(.*)\]$|^ClassVar$", r"\1", type_text),
            is_class_variable=type_text.startswith("ClassVar"),
            comment=comment,
            group_comment=group_comment,
        )
        last_line = node.end_lineno
    return declarations


def _comment_above(lines: Sequence[str], number: int) -> str:
    """The comment lines `#: ...` that end directly above line `number`, counted from 1, as one text."""
    comment: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#:"):
            break
        comment.insert(0, line.strip().removeprefix("#:").strip())
    return " ".join(comment)
