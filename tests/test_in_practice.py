"""The part *In practice*: its commands are those of the command line, and of the README."""

import re
import shlex
from functools import partial
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

from minigan import cli

ROOT = Path(__file__).resolve().parents[1]
CELLS = nbformat.read(ROOT / "book" / "your_images.ipynb", as_version=4).cells
CODE = "\n".join(cell.source for cell in CELLS if cell.cell_type == "code")
CODE = re.sub(r'"\n\s*f?"', "", CODE)  # strings over two lines
PROSE = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
#: Commands that the chapter runs, and those that it shows for MVTec AD.
COMMANDS = re.findall(r'terminal\(\s*f?"(minigan [^"]+)"', CODE) + re.findall(r"^(minigan .+)$", PROSE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_chapter_is_one_of_the_command_line(command):
    run = cli._parser().parse_args(shlex.split(command)[1:]).run
    if isinstance(run, partial):  # one that is imported when it is asked for
        module, name = run.args
        run = getattr(import_module(f"minigan.{module}"), name)
    assert run.__name__ == shlex.split(command)[1]


def test_the_chapter_shows_the_readme_s_commands_for_photographs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^minigan (fit|score|report|compare|threshold|export)\b", readme, flags=re.M))
    assert verbs == {"fit", "score", "report", "compare", "threshold", "export"}
    assert {command.split()[1] for command in COMMANDS} >= verbs
    options = {word for command in COMMANDS for word in command.split() if word.startswith("--")}
    assert {"--out", "--heatmaps", "--method", "--false-alarms"} <= options


def test_what_the_chapter_runs_succeeds():
    outputs = "".join(
        output.get("text", "") for cell in CELLS for output in cell.get("outputs", []) if "text" in output
    )
    assert "exit code" not in outputs
    for said in ("to learn from", "90 % interval", "images lie above the threshold", "take "):
        assert said in outputs
    for said in (
        "20 images cannot promise 1 % false alarms",
        "exported as wall.onnx",
        "normal images; AUROC",
    ):
        assert said in outputs
    for warning in ("darker than every training image", "a size that no training image had", "learned from"):
        assert warning in outputs
