"""Copies of the chapters for JupyterLab and a class: order, links, folded solutions; the teachers' page."""

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import build_book
import classroom
import nbformat
import pytest
from PIL import Image

from minigan.flipbook import flip_book

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = build_book.chapters()

SOLVED = """**1. Why?** Say it.

```{admonition} Solution
:class: dropdown
Because of the secret reason.
```

**2. And then?** Try."""
PANEL = """from ipywidgets import IntSlider, interact


@interact(number=IntSlider(value=3, max=9))
def panel(number):
    print("seen:", number)"""
EXPLAINED = "```{admonition} What it means\n:class: dropdown\nAnother secret.\n```"


def code(source: str, *tags: str, text: str = "said\n") -> nbformat.NotebookNode:
    """A code cell that was run."""
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_code_cell(
        source, outputs=[output], execution_count=1, metadata={"tags": list(tags)} if tags else {}
    )


@pytest.fixture
def book(tmp_path: Path, monkeypatch) -> Path:
    """A checkout with a book of two chapters, one of which comes before the other against the alphabet."""
    for kind in ("CONFIG", "DATA", "RUNTIME"):  # not those of whoever runs the tests
        monkeypatch.setenv(f"JUPYTER_{kind}_DIR", str(tmp_path / kind))
    root = tmp_path / "checkout"
    (root / "book" / "_static" / "pictures").mkdir(parents=True)
    (root / "book" / "_static" / "pictures" / "dot.png").write_bytes(b"a picture")
    (root / "data" / "results").mkdir(parents=True)
    (root / "data" / "results" / "runs.csv").write_text("auroc\n1\n", encoding="utf-8")
    toc = {"format": "jb-book", "root": "book/intro", "chapters": []}
    toc["chapters"] = [{"file": f"book/{name}"} for name in ("zebra", "ape", "glossary", "api")]
    (root / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")
    texts = {
        "intro": "# Welcome\n\nRead {doc}`zebra`, then {doc}`the other <ape>`, or {doc}`api`.",
        "zebra": "# Zebra *one*\n\nA {term}`GAN`, {term}`fakes\n<fake>` {cite}`a,b`; {cite:t}`c` agrees.",
        "ape": "# Ape",
    }
    swatches = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    moving = flip_book(swatches, [("Colour", ["red", "blue"])])._repr_html_()
    for name, text in texts.items():
        cells = [nbformat.v4.new_markdown_cell(text), code("draw()", "hide-input"), code("1 + 1")]
        cells[1].outputs = [nbformat.v4.new_output("display_data", {"text/html": moving})]
        if name == "zebra":
            cells += [
                nbformat.v4.new_markdown_cell("## Exercises\n\n" + SOLVED),
                code("answer()", "hide-cell"),
            ]
            cells += [nbformat.v4.new_markdown_cell(EXPLAINED), nbformat.v4.new_markdown_cell("## Next")]
        if name == "ape":
            cells.append(code(PANEL, "hide-input", "remove-output"))
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": classroom.KERNEL})
        nbformat.write(notebook, root / "book" / f"{name}.ipynb")
    glossary = "# Glossary\n\n```{glossary}\nfake\n  Something\n  made.\n\nGAN\n  Two networks.\n```\n"
    (root / "book" / "glossary.md").write_text(glossary, encoding="utf-8")
    (root / "book" / "api.md").write_text("# The API\n", encoding="utf-8")
    people = {"a": "Doe, Jane", "b": r"van der Maaten, L. and H{\"o}lder, O.", "c": "A, B and C, D and E, F"}
    entries = (f"@misc{{{key}, author={{{who}}}, year={{2020}}}}" for key, who in people.items())
    (root / "book" / "references.bib").write_text("\n".join(entries), encoding="utf-8")
    return root


def cells(text: str) -> list[nbformat.NotebookNode]:
    """The cells of a copy, which must be a valid notebook."""
    return nbformat.reads(text, as_version=4).cells


# ---------------------------------------------------------------------- the copies


def test_copies_are_numbered_in_the_order_of_the_book(book):
    assert list(classroom.copies(book)) == [
        "00-intro.ipynb",
        "01-zebra.ipynb",
        "02-ape.ipynb",
        "03-glossary.ipynb",
    ]


def test_links_lead_to_copies_and_other_roles_become_text(book):
    found = {name: cells(text)[0].source for name, text in classroom.copies(book).items()}
    assert (
        "Read [Zebra *one*](01-zebra.ipynb), then [the other](02-ape.ipynb), or The API."
        in found["00-intro.ipynb"]
    )
    said = "A GAN, fakes (Doe 2020; van der Maaten and Hölder 2020); A et al. (2020) agrees."
    assert said in found["01-zebra.ipynb"]
    assert "**fake:** Something\n  made.\n\n**GAN:** Two networks.\n" in found["03-glossary.ipynb"]


def test_without_outputs_and_solutions_nothing_is_given_away(book):
    texts = classroom.copies(book, outputs=False, solutions=False)
    zebra = cells(texts["01-zebra.ipynb"])
    assert "secret" not in texts["01-zebra.ipynb"] and "answer()" not in texts["01-zebra.ipynb"]
    assert "**1. Why?** Say it.\n\n\n**2. And then?** Try." in zebra[3].source
    assert [cell.source for cell in zebra[4:]] == ["# Your solution\n", "## Next"]
    assert not zebra[4].metadata.get("jupyter")  # nothing is folded that a student should fill in
    for text in texts.values():
        for cell in cells(text):
            assert not cell.get("outputs") and cell.get("execution_count") is None
    assert "secret" in classroom.copies(book)["01-zebra.ipynb"]


def test_folded_is_what_the_tags_hide():
    tags = ["hide-cell", "hide-input", "hide-output", "other"]
    notebook = nbformat.v4.new_notebook(cells=[code("1", tag) for tag in tags])
    notebook.cells[3].metadata["jupyter"] = {
        "source_hidden": True,
        "mine": 1,
    }  # as a tag that is gone left it
    assert classroom.fold(notebook)
    both, source, outputs = {"source_hidden": True, "outputs_hidden": True}, {"source_hidden": True}, None
    outputs = {"outputs_hidden": True}
    assert [cell.metadata["jupyter"] for cell in notebook.cells] == [both, source, outputs, {"mine": 1}]
    assert not classroom.fold(notebook)


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_chapter_is_folded_for_jupyterlab(path):
    assert not classroom.fold(classroom.read(path)), "run: python book/classroom.py fold"


def test_all_links_of_the_whole_book_arrive():
    texts = classroom.copies(outputs=False)
    assert len(texts) == len(CHAPTERS) + len(classroom.BESIDE)
    for name, text in texts.items():
        prose = "\n".join(c.source for c in nbformat.v4.reads(text).cells if c.cell_type == "markdown")
        assert re.findall(r"\{(?:doc|term|ref|cite)[:t]*\}", prose) == [], name
        assert set(re.findall(r"\]\((\d\d-[^)]*)\)", prose)) <= texts.keys(), name


# ---------------------------------------------------------------------- the folder lab


def test_copies_that_were_changed_are_kept(book, tmp_path):
    folder = tmp_path / "lab"
    assert classroom.fill(folder, book) == []
    assert (folder / "_static" / "pictures" / "dot.png").read_bytes() == b"a picture"
    mine = folder / "02-ape.ipynb"
    mine.write_text(mine.read_text(encoding="utf-8").replace("1 + 1", "my work"), encoding="utf-8")
    assert classroom.fill(folder, book) == []  # the chapter is as it was: nothing to say
    for name in ("zebra", "ape"):
        path = book / "book" / f"{name}.ipynb"
        path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "2 + 2"), encoding="utf-8")
    assert classroom.fill(folder, book) == ["02-ape.ipynb"]
    assert "my work" in mine.read_text(encoding="utf-8")
    assert "2 + 2" in (folder / "01-zebra.ipynb").read_text(encoding="utf-8")
    mine.unlink()  # the reader wants the new one
    assert classroom.fill(folder, book) == []
    assert "2 + 2" in mine.read_text(encoding="utf-8")


def test_opening_a_copy_in_jupyterlab_does_not_count_as_a_change(book, tmp_path):
    folder = tmp_path / "lab"
    classroom.fill(folder, book)
    opened = nbformat.read(folder / "02-ape.ipynb", as_version=4)
    opened.metadata["language_info"] = {"name": "python", "version": "3.13.9"}
    nbformat.write(opened, folder / "02-ape.ipynb")
    path = book / "book" / "ape.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "2 + 2"), encoding="utf-8")
    assert classroom.fill(folder, book) == []
    assert "2 + 2" in (folder / "02-ape.ipynb").read_text(encoding="utf-8")


def test_a_filling_that_was_killed_goes_on(book, tmp_path):
    folder = tmp_path / "lab"
    classroom.fill(folder, book)
    (folder / classroom.RECORD).unlink()  # it is written last
    (folder / "02-ape.ipynb").unlink()
    assert classroom.fill(folder, book) == []
    assert len(list(folder.glob("*.ipynb"))) == 4


def test_a_chapter_that_moves_takes_its_unchanged_copy_along(book, tmp_path):
    folder = tmp_path / "lab"
    classroom.fill(folder, book)
    (folder / "01-zebra.ipynb").write_text("{}", encoding="utf-8")  # changed by a reader
    toc = (book / "_toc.yml").read_text(encoding="utf-8").replace('{"file": "book/zebra"}, ', "")
    (book / "_toc.yml").write_text(toc, encoding="utf-8")
    assert classroom.fill(folder, book) == ["01-zebra.ipynb"]
    left = sorted(path.name for path in folder.glob("*.ipynb"))
    assert left == ["00-intro.ipynb", "01-ape.ipynb", "01-zebra.ipynb", "02-glossary.ipynb"]


# ---------------------------------------------------------------------- the zip


def test_zip_is_the_same_each_time_and_has_what_the_notebooks_need(book, tmp_path):
    one, two = tmp_path / "one.zip", tmp_path / "new" / "two.zip"
    classroom.pack(one, book)
    for path in book.rglob("*"):
        os.utime(path, (0, 0))
    classroom.pack(two, book)
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        names = archive.namelist()
        readme = archive.read("minigan-notebooks/README.md").decode()
        zebra = cells(archive.read("minigan-notebooks/01-zebra.ipynb").decode())
    assert "minigan-notebooks/_static/pictures/dot.png" in names
    assert "minigan-notebooks/data/results/runs.csv" in names
    assert readme.index("`00-intro.ipynb`: Welcome") < readme.index("`02-ape.ipynb`: Ape")
    assert "Solutions are folded." in readme
    assert zebra[4].metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}


def test_command_line(book, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        classroom, "copies", lambda root=None, **options: _small(classroom_copies, book, options)
    )
    classroom.main(["lab", "--output", str(tmp_path / "lab")])
    assert "never overwritten" in capsys.readouterr().out
    (tmp_path / "lab" / "01-zebra.ipynb").write_text("mine", encoding="utf-8")
    path = tmp_path / "class.zip"
    classroom.main(["zip", "--without-solutions", "--output", str(path)])
    assert capsys.readouterr().out.strip() == str(path)
    with zipfile.ZipFile(path) as archive:
        assert "have been left out" in archive.read("minigan-notebooks/README.md").decode()
    monkeypatch.setattr(classroom, "chapters", lambda: [book / "book" / "zebra.ipynb"])
    classroom.main(["fold"])
    assert capsys.readouterr().out.strip() == str(book / "book" / "zebra.ipynb")
    classroom.main(["fold"])
    assert capsys.readouterr().out == ""


classroom_copies = classroom.copies


def _small(copies, book, options):
    return copies(book, **options)


# ---------------------------------------------------------------------- a real JupyterLab, in Chromium


@pytest.fixture
def jupyterlab(book, tmp_path):
    """The address of a JupyterLab that shows the copies of the small book, as `make lab` does."""
    pytest.importorskip("jupyterlab_myst")
    folder = tmp_path / "lab"
    classroom.fill(folder, book)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        str(folder),
        "--config",
        str(ROOT / "book" / "lab_config.py"),
    ]
    command += ["--no-browser", "--allow-root", "--ServerApp.port=0"]
    log = tmp_path / "lab.log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server,
    ):
        try:
            for _ in range(600):
                files = (tmp_path / "RUNTIME").glob("jpserver-*.json")
                address = "".join(path.read_text(encoding="utf-8") for path in files)
                if address.rstrip().endswith("}") or server.poll() is not None:
                    break
                time.sleep(0.2)
            assert address, log.read_text(errors="replace")
            said = json.loads(address)
            yield said["url"], said["token"]
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)  # seconds; it ends its kernels first
            except subprocess.TimeoutExpired:
                server.kill()


def test_jupyterlab_folds_solutions_lists_chapters_in_order_and_moves_panels(jupyterlab, browser):
    url, token = jupyterlab
    page = browser.new_page(viewport={"width": 1280, "height": 2000})
    page.set_default_timeout(120_000)  # milliseconds; busy machines are slow
    page.goto(f"{url}?token={token}")
    page.get_by_role("link", name="Zebra").click()  # `make lab` opens the welcome page; its links work
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) h1:has-text('Zebra')").wait_for()
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
    panel.locator("details").nth(1).wait_for()  # both boxes, which are drawn one after the other
    listed = page.locator(".jp-DirListing-itemText").all_inner_texts()
    assert listed == ["00-intro.ipynb", "01-zebra.ipynb", "02-ape.ipynb", "03-glossary.ipynb"]

    notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook")
    drawing, shown, solution = notebook.locator(".jp-CodeCell").all()
    assert shown.locator(".cm-content").is_visible() and shown.locator(".jp-OutputArea-output").is_visible()
    assert not drawing.locator(".cm-content").is_visible()
    before = drawing.locator("img").get_attribute("src")
    drawing.locator("input[type=range]").press("ArrowRight")  # runs only in a notebook that is trusted
    assert drawing.locator("img").get_attribute("src") != before
    assert not solution.locator(".cm-content").is_visible()
    assert not solution.locator(".jp-OutputArea-output").is_visible()
    for folded in notebook.locator("details").all():
        assert not folded.locator("p", has_text="secret").is_visible()
    assert notebook.locator("details").count() == 2
    notebook.locator("summary").first.click()
    assert notebook.locator("p", has_text="the secret reason").is_visible()

    page.get_by_text("02-ape.ipynb").first.dblclick()
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) h1:has-text('Ape')").wait_for()
    panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell").nth(2)
    # Before its kernel is there, JupyterLab clears a cell's output and runs nothing.
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) [data-status='idle']").first.wait_for()
    panel.get_by_text("said").click()  # selects the cell
    for _ in range(12):  # "idle" may still be that of the notebook before
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(2000)
        if panel.get_by_text("seen: 3").is_visible():
            break
    panel.get_by_text("seen: 3").wait_for()
    assert not panel.locator(".cm-content").is_visible()  # the sliders are what is to be seen
    panel.get_by_role("slider").press("ArrowRight")
    panel.get_by_text("seen: 4").wait_for()
    assert page.get_by_text("news").count() == 0  # a class without a network is asked nothing
    page.close()


# ---------------------------------------------------------------------- the page for teachers


def test_teachers_find_every_chapter_and_its_minutes():
    text = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \{doc\}`(\w+)` \| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    table = {chapter: read for chapter, read, _ in rows}
    running = {chapter: said for chapter, _, said in rows if said != "-"}
    minutes = {}
    for path in CHAPTERS:
        prose = "\n".join(cell.source for cell in classroom.read(path).cells)
        if found := re.search(r"\*\*Time:\*\* (?:about )?(\d+) minutes", prose):
            minutes[path.stem] = found[1]
            assert f"{running.get(path.stem, '')} to run" in prose or path.stem not in running, path.stem
    assert table == minutes
    assert len(minutes) > 20
    for path in CHAPTERS:
        assert path.stem in ("intro", "ledger") or f"{{doc}}`{path.stem}`" in text, path.stem


def test_every_section_for_teachers_has_folded_answers():
    text = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    sections = text.partition("## Chapter by chapter")[2].split("\n### ")[1:]
    assert len(sections) > 12
    for section in sections:
        for part in (
            "**For:**",
            "**Live:**",
            "*Discuss:*",
            "*Pitfalls:*",
            "```{admonition} Answers\n:class: dropdown",
        ):
            assert section.count(part) == 1, (section[:40], part)
