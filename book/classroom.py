"""Prepares the chapters for JupyterLab and for a class.

    python book/classroom.py lab     # what `make lab` does first: fills the folder lab with working copies
    python book/classroom.py zip     # what `make class` does: build/minigan-notebooks.zip
    python book/classroom.py fold    # folds solutions in the chapters themselves, for JupyterLab

JupyterLab lists files by name and knows none of the book's links. So the copies are numbered in the order of
the book, links lead to other copies, terms and citations are plain text, and solutions are folded. What a
reader changes in the folder lab stays: only copies that nobody has changed are replaced by newer ones.
"""

import argparse
import hashlib
import json
import re
import zipfile
from functools import partial
from pathlib import Path

import nbformat
from build_book import ROOT, chapters, fold, pages
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from pybtex.database import BibliographyData, parse_file

from minigan.files import replacing

#: Pages without code that are worth having beside the chapters; they become notebooks of one cell.
BESIDE = ("notation", "glossary")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
#: In the folder lab: what was written there, by name, to see which copies have been changed since.
RECORD = ".copies.json"
ZIP = "minigan-notebooks"
ROLE = re.compile(r"\{(doc|term|ref|cite|cite:t)\}`([^`]+)`")
GLOSSARY = re.compile(r"^```\{glossary\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
SOLUTION = re.compile(r"^(`{3,})\{admonition\}[^\n]*\n:class: dropdown\n[\s\S]*?^\1[ \t]*\n?", re.MULTILINE)

README = """# minigan: the chapters as notebooks

Open `{first}` in JupyterLab; the numbers are the order of the book. The notebooks have no outputs: predict
first, then run. {solutions}

You need minigan and JupyterLab: the environment that `make env` makes in the folder of minigan's sources, or,
there, with Python 3.11 or newer:

    python -m pip install ".[book,lab]"

Then start JupyterLab with that Python, in the folder of this file:

    python -m jupyterlab {first}

Nothing is downloaded while you work. The folder `data` has the recorded runs that some chapters show.

Text and figures are under CC BY 4.0, code is under the MIT licence.

{chapters}
"""


def read(page: Path) -> NotebookNode:
    """A page of the book as a notebook; one without code has a single cell."""
    if page.suffix == ".ipynb":
        return nbformat.v4.reads(page.read_text(encoding="utf-8"))  # without the slow check of its form
    text = GLOSSARY.sub(_paragraphs, page.read_text(encoding="utf-8"))
    cell = nbformat.v4.new_markdown_cell(text, id="page")
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": KERNEL})


def _paragraphs(glossary: re.Match[str]) -> str:
    """The entries of a glossary as paragraphs, each with its term in front."""
    return re.sub(r"^(\S.*)\n[ ]+", r"**\1:** ", glossary[1], flags=re.MULTILINE)


def title(notebook: NotebookNode) -> str:
    """The text of the first heading."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.search(r"^# (.+)$", prose, re.MULTILINE)[1].strip()


def titles(root: Path = ROOT) -> dict[str, str]:
    """The title of every page of the book, by its name."""
    sources = (root / f"{page}{suffix}" for page in pages(root) for suffix in (".ipynb", ".md"))
    return {path.stem: title(read(path)) for path in sources if path.exists()}


def copies(root: Path = ROOT, *, outputs: bool = True, solutions: bool = True) -> dict[str, str]:
    """The working copies of all chapters: file names, in the order of the book, and their texts.

    Without outputs a reader has to run a cell to see what it gives. Without solutions the cells for them are
    empty.
    """
    sources = chapters(root) + [path for name in BESIDE if (path := root / "book" / f"{name}.md").exists()]
    notebooks = {path.stem: read(path) for path in sources}
    names = {stem: f"{number:02}-{stem}.ipynb" for number, stem in enumerate(notebooks)}
    # Pages that stay in the browser: their titles, and no link.
    links = {stem: (name, names.get(stem, "")) for stem, name in titles(root).items()}
    library = parse_file(root / "book" / "references.bib", bib_format="bibtex")
    plain = partial(ROLE.sub, partial(in_words, links=links, library=library))
    for notebook in notebooks.values():
        if not solutions:
            remove_solutions(notebook)
        if not outputs:
            remove_outputs(notebook)
        fold(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = plain(cell.source)
    return {names[stem]: nbformat.v4.writes(notebook) + "\n" for stem, notebook in notebooks.items()}


def in_words(role: re.Match[str], links: dict[str, tuple[str, str]], library: BibliographyData) -> str:
    """What stands for a role of MyST in a working copy: a link to another copy, or text."""
    kind, content = role[1], " ".join(role[2].split())
    text, _, target = content.removesuffix(">").rpartition("<")
    text = text.strip()
    if kind == "doc":
        name, file = links.get(target.strip(), (target, ""))
        return f"[{text or name}]({file})" if file else text or name
    if kind in ("term", "ref"):
        return text or content
    cited = [_cited(library, key.strip(), in_sentence=kind == "cite:t") for key in content.split(",")]
    return ", ".join(cited) if kind == "cite:t" else f"({'; '.join(cited)})"


def _cited(library: BibliographyData, key: str, in_sentence: bool) -> str:
    """Authors and year of a publication: "Murase and Fukumizu 2022", or with the year in parentheses."""
    entry = library.entries[key]
    last = [
        " ".join(map(str, [*person.rich_prelast_names, *person.rich_last_names]))
        for person in entry.persons["author"]
    ]
    authors = " and ".join(last) if len(last) < 3 else f"{last[0]} et al."
    return f"{authors} ({entry.fields['year']})" if in_sentence else f"{authors} {entry.fields['year']}"


def remove_outputs(notebook: NotebookNode) -> None:
    """Remove what running has left: outputs, their numbers, and the state of widgets."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)


def remove_solutions(notebook: NotebookNode) -> None:
    """Empty the folded cells of the exercises, and remove the folded boxes that explain them."""
    exercises, kept = False, []
    for cell in notebook.cells:
        exercises = exercises or bool(re.search(r"^#+ Exercises", cell.source, re.MULTILINE))
        if exercises and "hide-cell" in cell.metadata.get("tags", []):
            cell.update(source="# Your solution\n", outputs=[], execution_count=None)
            cell.metadata["tags"].remove("hide-cell")
        elif exercises and cell.cell_type == "markdown":
            cell.source = SOLUTION.sub("", cell.source).strip()
        if cell.source.strip():
            kept.append(cell)
    notebook.cells = kept


def fill(folder: Path, root: Path = ROOT) -> list[str]:
    """Write the working copies and the pictures they show; returns the names of copies that were kept.

    A copy that a reader has changed is kept, also when its chapter has changed too: the reader decides, by
    deleting it, to get the new one. What is written is signed, because in a notebook that it does not trust
    JupyterLab runs no script, and no figure with a slider moves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / RECORD
    written = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    texts = {name: text.encode() for name, text in copies(root).items()}
    kept, notary = [], NotebookNotary()
    for name in sorted(written.keys() | texts.keys()):
        path = folder / name
        now = _digest(path.read_bytes()) if path.exists() else None
        new = _digest(texts[name]) if name in texts else None
        if now not in (None, new, written.get(name)):  # a reader has changed it
            if new != written.get(name):
                kept.append(name)
        elif new is None:  # its chapter has moved or is gone
            path.unlink(missing_ok=True)
            del written[name]
        else:
            if now is None or path.read_bytes() != texts[name]:  # other metadata, too
                notary.sign(nbformat.v4.reads(texts[name].decode()))
                _write(path, texts[name])
            written[name] = new
    for name, content in pictures(root).items():
        _write(folder / name, content)
    _write(record, json.dumps(written, indent=1).encode())
    return kept


def pack(path: Path, root: Path = ROOT, *, solutions: bool = True) -> None:
    """Write a zip of the notebooks without outputs and of the data they read; the same bytes each time."""
    notebooks = copies(root, outputs=False, solutions=solutions)
    listed = "\n".join(f"* `{name}`: {title(nbformat.v4.reads(text))}" for name, text in notebooks.items())
    said = "Solutions are folded." if solutions else "Solutions have been left out."
    readme = README.format(first=next(iter(notebooks)), solutions=said, chapters=listed)
    files = {name: text.encode() for name, text in notebooks.items()} | {"README.md": readme.encode()}
    files |= pictures(root) | records(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{ZIP}/{name}")  # dated 1980: no time of today in it
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on Windows
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)


def pictures(root: Path) -> dict[str, bytes]:
    """The pictures that chapters show from files, by their path beside the chapters."""
    folder = root / "book"
    found = sorted(folder.glob("_static/pictures/*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def records(root: Path) -> dict[str, bytes]:
    """The papers' numbers, our recorded runs and their saved scores, by their path in the checkout."""
    kinds = ("published/*.csv", "results/*.csv", "results/scores/*/*.npz")
    found = sorted(path for kind in kinds for path in root.glob(f"data/{kind}"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def _digest(content: bytes) -> str:
    """A digest of a notebook's cells and outputs: JupyterLab writes new metadata when it only opens one."""
    try:
        cells = nbformat.v4.reads(content.decode()).cells
        shown = [[cell.cell_type, cell.source, cell.get("outputs")] for cell in cells]
    except (ValueError, AttributeError):  # no notebook any more
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file at once; one that has this content already is left alone."""
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def main(arguments: list[str] | None = None) -> None:
    """The command line, as described at the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["lab", "zip", "fold"])
    parser.add_argument("--output", type=Path, help="the folder to fill, or the zip to write")
    parser.add_argument("--without-solutions", action="store_true", help="for zip: leave the solutions out")
    options = parser.parse_args(arguments)
    if options.what == "lab":
        folder = options.output or ROOT / "lab"
        for name in fill(folder):
            print(f"{folder / name} has changes of yours, and its chapter has changed too: yours is kept")
        print(f"The chapters are in {folder}. What you change there is never overwritten.")
    elif options.what == "zip":
        ending = "-without-solutions" if options.without_solutions else ""
        path = options.output or ROOT / "build" / f"{ZIP}{ending}.zip"
        pack(path, solutions=not options.without_solutions)
        print(path)
    else:
        for path in chapters():
            notebook = read(path)
            if fold(notebook):
                _write(path, (nbformat.v4.writes(notebook) + "\n").encode())
                print(path)


if __name__ == "__main__":
    main()
