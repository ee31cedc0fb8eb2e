"""Answers to exercises: says whether a number is right, without showing the right one.

The book keeps no answer here, only salted digests of the numbers that count as right: the answer and its
neighbours, in steps of the precision that the exercise asks for. That keeps an answer from being read by
accident. It does not keep anybody from trying all numbers, and need not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from difflib import get_close_matches

from minigan.checks import is_finite_number, require


@dataclass(frozen=True)
class Sealed:
    """An answer that cannot be read: the step that it is rounded to, and digests of what counts as right."""

    step: float
    digests: tuple[str, ...]


#: By chapter and number, as `seal` made them.
ANSWERS: dict[str, Sealed] = {
    "what_is_an_anomaly-2": Sealed(0.01, ("48e0ea8c8ac26170", "32e87c86f8d4824f", "57ab36f0cc424da0")),
    "first_detector-2": Sealed(0.01, ("39a619c556c4608d", "27fa00c8585d63b6", "30514d38e61ddab3")),
}


def seal(name: str, answer: float, step: float, within: int = 1) -> Sealed:
    """Seal the answer to an exercise.

    Args:
        name: chapter and number, such as "first_detector-2".
        answer: the right number.
        step: what answers are rounded to, such as 0.01.
        within: by how many steps another answer may differ and still be right.
    """
    nearest = _steps(answer, step)
    return Sealed(step, tuple(_digest(name, nearest + i) for i in range(-within, within + 1)))


def check(name: str, answer: float | None = None) -> None:
    """Print whether the answer to an exercise of the book is right; the right one is not shown.

    Args:
        name: chapter and number, such as "first_detector-2".
        answer: your number; None: not yet.

    Raises:
        ValueError: there is no such exercise, or the answer is no number.
    """
    near = get_close_matches(name, ANSWERS, n=1)
    advice = f"did you mean {near[0]!r}" if near else "look at the exercise for its name"
    require(name in ANSWERS, f"expected one of {', '.join(ANSWERS)}, got {name!r}; {advice}")
    if answer is None:
        print("No answer yet: put your number in place of None, and run this cell again.")
        return
    require(
        is_finite_number(answer),
        f"expected a number as the answer, got {answer!r}; compute one number and give that",
    )
    sealed = ANSWERS[name]
    if _digest(name, _steps(float(answer), sealed.step)) in sealed.digests:
        print("Right.")
    else:
        print("Not yet. Read the exercise again, and look at what exactly you compute.")


def _steps(answer: float, step: float) -> int:
    """The answer in whole steps."""
    return round(answer / step)


def _digest(name: str, steps: int) -> str:
    """The name is the salt: equal answers to two exercises have different digests."""
    return hashlib.sha256(f"{name}:{steps}".encode()).hexdigest()[:16]
