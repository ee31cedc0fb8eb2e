"""Spelling, by codespell: the sources, the pages' text, and what the repository says about itself."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]


def codespell(*paths: Path) -> str:
    """What codespell finds, a line each."""
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml")]
    done = subprocess.run([*command, *map(str, paths)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 65), done.stderr  # 65: it has found something
    return done.stdout


def test_sources_and_documents():
    folders = [ROOT / name for name in ("minigan", "tests", ".github", "data/README.md")]
    assert codespell(*folders, *ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("book/*.py")) == ""


def test_chapters(tmp_path: Path):
    """Their text and code; pictures in outputs are random letters."""
    for chapter in ROOT.glob("book/*.ipynb"):
        cells = nbformat.read(chapter, as_version=4).cells
        (tmp_path / f"{chapter.stem}.txt").write_text("\n".join(c.source for c in cells), encoding="utf-8")
    assert codespell(tmp_path) == ""


#: Words for which the field has others: baseline, fraction of, "so that ... not", must, rarely, always.
FOREIGN = re.compile(r"\b(rivals?|the share of|a share of|lest|shall|seldom|for ever)\b", flags=re.IGNORECASE)


def test_words_are_those_of_the_field():
    paths = [*(ROOT / "minigan").rglob("*.py"), *ROOT.glob("*.md"), *ROOT.glob("book/*.md")]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    for path in ROOT.glob("book/*.ipynb"):
        texts[path] = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    found = {path.name: FOREIGN.findall(text) for path, text in texts.items() if FOREIGN.search(text)}
    assert found == {}


def test_a_mistake_is_found(tmp_path: Path):
    (tmp_path / "page.txt").write_text("sepe_rate codes".replace("_", ""), encoding="utf-8")
    assert "==> separate" in codespell(tmp_path)
