"""Answers to exercises: the recorded solution is right, its neighbours are near enough, others are not."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from minigan import exercises

BOOK = Path(__file__).resolve().parents[1] / "book"

#: For each exercise: where its number stands in what the folded solution prints.
SOLUTIONS = {
    "what_is_an_anomaly-2": r"^sum\s+(\d\.\d+)$",
    "first_detector-2": r"^KernelDensity\s+\d\.\d+\s+(\d\.\d+)",
}


def recorded(name: str) -> float:
    """The number that the chapter's folded solution has printed."""
    chapter = nbformat.read(BOOK / f"{name.rpartition('-')[0]}.ipynb", as_version=4)
    said = []
    for cell in chapter.cells:
        if "hide-cell" in cell.metadata.get("tags", []):
            said += [output.get("text") or output.data["text/plain"] for output in cell.outputs]
    (number,) = re.findall(SOLUTIONS[name], "\n".join(said), re.MULTILINE)
    return float(number)


def verdict(capsys: pytest.CaptureFixture, name: str, answer: float | None) -> str:
    """What is printed about an answer."""
    exercises.check(name, answer)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", exercises.ANSWERS)
def test_recorded_solution_is_right_and_other_numbers_are_not(name, capsys):
    right, step = recorded(name), exercises.ANSWERS[name].step
    for answer in (right, right + step, right - step, np.float32(right)):
        assert verdict(capsys, name, answer) == "Right.\n"
    for answer in (right + 3 * step, right - 3 * step, 1 - right, 0, 1):
        assert verdict(capsys, name, answer).startswith("Not yet.")
    assert f"{right:g}" not in verdict(capsys, name, 0.5)


@pytest.mark.parametrize("name", exercises.ANSWERS)
def test_chapter_asks_for_the_answer_and_has_none_in_it(name):
    chapter = nbformat.read(BOOK / f"{name.rpartition('-')[0]}.ipynb", as_version=4)
    (cell,) = [cell for cell in chapter.cells if cell.source.startswith("exercises.check")]
    assert re.match(rf'exercises\.check\("{name}", None\)', cell.source)
    assert cell.outputs[0].text.startswith("No answer yet")


def test_equal_answers_to_two_exercises_look_different():
    one, two = exercises.seal("a-1", 0.5, 0.01), exercises.seal("b-1", 0.5, 0.01)
    assert not set(one.digests) & set(two.digests)
    assert len(set(one.digests)) == 3


@pytest.mark.parametrize("answer", ["0.72", True, float("nan"), [0.72]])
def test_what_is_no_number_gets_a_sentence(answer):
    with pytest.raises(ValueError, match=r"^expected a number as the answer, got .*; .*[^.]$"):
        exercises.check("first_detector-2", answer)


def test_a_name_with_a_mistake_gets_a_sentence():
    with pytest.raises(ValueError, match="got 'first_detector2'; did you mean 'first_detector-2'$"):
        exercises.check("first_detector2", 1.0)
