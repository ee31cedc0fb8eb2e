"""What is said about hyperparameters comes from the comments in the source, and every one has a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

import minigan
from minigan.detector import Detector, parameter_types
from minigan.hyperparameters import class_variables, hyperparameters

Kind = Literal["one", "two"]


@dataclass(kw_only=True, eq=False, repr=False)
class Base(Detector):
    """A base class."""

    #: Facts about
    #: the base.
    facts: ClassVar[dict[str, int]] = {}
    #: Passes over the images.
    epochs: int = 3
    untold: float = 1.0  # belongs to the group above


@dataclass(kw_only=True, eq=False, repr=False)
class Derived(Base):
    """A method."""

    facts: ClassVar = {"two": 2}

    alone: bool = True  # neither a comment nor a group
    #: Two lines
    #: about the weights.
    first: float | None = None
    second: tuple[int, ...] = (1, 2)
    # An ordinary comment ends the group.
    third: str = "a"
    #: Width.
    width: int = 4
    #: Kinds.
    kinds: tuple[Kind, ...] = ("one",)
    #: Path.
    path: str | Path = "a"
    epochs: int = 7
    seed: int = 5

    after_a_gap: int = 0


def described(cls: type) -> dict[str, tuple[str, object, str, str]]:
    return {p.name: (p.type_text, p.default, p.text, p.owner) for p in hyperparameters(cls)}


def test_text_type_and_default_come_from_the_source():
    found = described(Derived)
    weights = "Two lines about the weights."
    assert found["first"] == ("float | None", None, weights, "Derived")
    assert found["second"] == ("tuple[int, ...]", (1, 2), weights, "Derived")  # its group's
    assert found["width"] == ("int", 4, "Width.", "Derived")
    assert found["kinds"][0] == "tuple[Literal['one', 'two'], ...]"  # without the alias
    assert found["path"][0] == "str | pathlib.Path"
    assert found["untold"] == ("float", 1.0, "Passes over the images.", "Base")
    for name in ("alone", "third", "after_a_gap"):
        assert found[name][2] == "", name


def test_a_new_default_alone_keeps_the_meaning():
    found = described(Derived)
    assert found["epochs"] == ("int", 7, "Passes over the images.", "Derived")
    assert found["seed"][1:] == (5, described(Detector)["seed"][2], "Derived")


def test_own_ones_come_first_and_none_is_missing():
    names = [p.name for p in hyperparameters(Derived)]
    assert sorted(names) == sorted(parameter_types(Derived))
    owners = [p.owner for p in hyperparameters(Derived)]
    assert owners == sorted(owners, key=["Derived", "Detector", "Base"].index)


def test_class_variables_are_facts_with_inherited_texts():
    found = {p.name: p for p in class_variables(Derived)}
    facts = found["facts"]
    assert (facts.type_text, facts.default, facts.owner) == ("dict[str, int]", {"two": 2}, "Derived")
    assert facts.text == "Facts about the base."
    assert found["takes"].default == ("images",) and found["takes"].owner == "Detector"
    assert not set(found) & {p.name for p in hyperparameters(Derived)}


@pytest.mark.parametrize("name", minigan.methods())
def test_every_hyperparameter_of_a_method_has_a_text(name):
    cls = minigan.get(name)
    described = [*hyperparameters(cls), *class_variables(cls)]
    assert [p.name for p in described if not p.text.endswith(".") or len(p.text) < 10] == []
    assert [p.name for p in described if not p.type_text] == []
