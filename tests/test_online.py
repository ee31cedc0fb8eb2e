"""The chapters as Colab and Binder open them: the cell that installs, plain Markdown, nothing given away."""

import importlib.util
import os
import re
import subprocess

import build_book
import nbformat
import online
import pytest
from packaging.requirements import Requirement

REPOSITORY, COMMIT, BOOK = "https://github.com/someone/minigan", "c0ffee", "https://example.org/minigan"


@pytest.fixture(scope="module")
def files():
    return online.branch_files(f"{REPOSITORY}/", COMMIT, f"{BOOK}/")


@pytest.fixture(scope="module")
def notebooks(files):
    return {
        name: nbformat.reads(content.decode(), as_version=4)
        for name, content in files.items()
        if name.endswith(".ipynb")
    }


def test_every_chapter_begins_with_the_folded_cell_and_has_no_outputs(notebooks):
    assert set(notebooks) == {f"book/{path.name}" for path in build_book.chapters()}
    for name, notebook in notebooks.items():
        first = notebook.cells[0]
        assert "installs minigan" in first.source and first.metadata["cellView"] == "form", name
        assert first.metadata["jupyter"]["source_hidden"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    nbformat.validate(notebooks["book/full_leaves.ipynb"])


def test_nothing_is_left_that_only_the_book_can_show(files, notebooks):
    pages = {f"{BOOK}/{page}.html" for page in build_book.pages()}
    for name, notebook in notebooks.items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                found = re.findall(r"\{(?:admonition|figure|doc|term|ref|numref|cite)\b[^}]*\}", cell.source)
                assert found == [] and not re.search(r"^\([\w-]+\)=$", cell.source, re.MULTILINE), name
                shown = set(re.findall(r"\]\(attachment:([^)]+)\)", cell.source))
                assert shown == set(cell.get("attachments", {})), name
                assert set(re.findall(rf"\(({BOOK}[^)]*)\)", cell.source)) <= pages
    assert "attachments" in str(notebooks["book/full_leaves.ipynb"])
    assert "book/data/results/digits.csv" in files and "book/data/published/agad.csv" in files


def test_folded_cells_are_folded_on_colab(notebooks):
    solutions = [
        cell
        for notebook in notebooks.values()
        for cell in notebook.cells
        if "hide-cell" in cell.metadata.get("tags", [])
    ]
    assert len(solutions) > 40
    for cell in solutions:
        assert cell.metadata["cellView"] == "form" and cell.source.startswith("# @title Solution\n")


def test_boxes_become_folds_and_quotations():
    folded = "```{admonition} Solution\n:class: dropdown\nYes.\n\nNo.\n```"
    tip = "````{admonition} You will learn\n:class: tip\n* one\n\n```python\n1\n```\n````"
    assert online.BOX.sub(online.box, f"Ask.\n\n{folded}\n\n## Next\n") == (
        "Ask.\n\n<details>\n<summary>Solution</summary>\n\nYes.\n\nNo.\n\n</details>\n\n## Next\n"
    )
    assert online.BOX.sub(online.box, tip) == ("> **You will learn**\n>\n> * one\n>\n> ```python\n> 1\n> ```")


def test_the_cell_does_nothing_where_minigan_is(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran a program"))
    before = os.getcwd()
    exec(online.install_cell(REPOSITORY, "notebooks", COMMIT).source, {})
    assert os.getcwd() == before


def test_the_cell_fetches_records_and_installs_where_minigan_is_missing(monkeypatch, tmp_path):
    ran = []

    def run(command, check):
        ran.append(" ".join(command[1:]))
        (tmp_path / "minigan-notebooks" / "book").mkdir(parents=True, exist_ok=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", run)
    exec(online.install_cell(REPOSITORY, "shown", COMMIT).source, {})
    assert ran == [
        f"clone --quiet --depth 1 --branch shown {REPOSITORY} minigan-notebooks",
        f"-m pip install --quiet minigan[features] @ git+{REPOSITORY}@{COMMIT}",
    ]
    assert os.getcwd() == str(tmp_path / "minigan-notebooks" / "book")
    os.chdir(tmp_path)
    exec(online.install_cell(REPOSITORY, "shown", COMMIT).source, {})  # once more, after pip had failed
    assert len(ran) == 3 and "pip install" in ran[-1]


def test_binder_is_told_what_to_install(files):
    index, *wanted = files["requirements.txt"].decode().splitlines()
    assert index.startswith("--extra-index-url ")
    first, *others = map(Requirement, wanted)
    assert first.name == "minigan" and first.url == f"git+{REPOSITORY}@{COMMIT}"
    assert {requirement.name for requirement in others} == {"ipywidgets", "jupyterlab", "pygments", "seaborn"}


def test_command_line(monkeypatch, tmp_path, capsys):
    for name in ("MINIGAN_REPOSITORY", "MINIGAN_NOTEBOOKS", "MINIGAN_BOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit):
        online.main(["--output", str(tmp_path)])
    assert "expected the repository's address, got none" in capsys.readouterr().err
    monkeypatch.setattr(online, "branch_files", lambda *given: {"book/a.ipynb": repr(given).encode()})
    online.main(["--output", str(tmp_path), "--repository", REPOSITORY, "--commit", COMMIT])
    written = (tmp_path / "book" / "a.ipynb").read_text()
    assert written == repr((REPOSITORY, COMMIT, "", "notebooks"))
    assert "branch notebooks" in capsys.readouterr().out
