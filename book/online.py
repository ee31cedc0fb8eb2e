"""Writes the chapters as Colab and Binder open them, for a branch of the public repository.

    python book/online.py --repository https://github.com/someone/minigan --output online

Each of these notebooks begins with a folded cell that installs minigan where it is missing and does nothing
elsewhere. Boxes, solutions, terms and pictures are plain Markdown, which Colab shows as well. Links lead to
the published book. There are no outputs. The recorded runs that chapters show lie beside them, and
`requirements.txt` tells Binder what to install.

CONTRIBUTING.md, "Publishing the book", says how the buttons that open these notebooks are switched on.
"""

import argparse
import base64
import os
import re
import subprocess
from functools import partial
from pathlib import Path

import nbformat
from build_book import ROOT, chapters
from classroom import ROLE, in_words, pictures, read, records, remove_outputs, titles
from nbformat import NotebookNode
from pybtex.database import parse_file

from minigan.files import replacing

BRANCH = "notebooks"
#: Where PyTorch has builds without CUDA's libraries, which no machine of Binder can use.
TORCH = "https://download.pytorch.org/whl/cpu"
#: What the chapters import beside minigan. Colab has all of it already.
BESIDE = ("ipywidgets>=8.1", "jupyterlab>=4.2", "pygments>=2.17", "seaborn>=0.13")

INSTALL = """# @title Run this first on Colab: it installs minigan. Elsewhere it does nothing.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("minigan") is None:
    folder = "minigan-notebooks"
    if not os.path.isdir(folder):
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", "{branch}"]
        subprocess.run([*clone, "{repository}", folder], check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "{requirement}"], check=True)
    importlib.invalidate_caches()
    os.chdir(f"{{folder}}/book")  # beside the recorded runs
"""

README = """# minigan: the chapters as notebooks

Written by `book/online.py` of {repository}, from its commit {commit}; do not edit them here. They are what
the rocket on a chapter's page opens, on Colab or on Binder. Text and figures are under CC BY 4.0, code is
under the MIT licence.
"""

#: In Colab's words, what a fold hides, by the tag of Jupyter Book.
FOLDS = {"hide-cell": "Solution", "hide-input": "Code that is folded in the book"}
BOX = re.compile(r"^(`{3,})\{admonition\} ([^\n]*)\n((?::[^\n]*\n)*)([\s\S]*?)^\1[ \t]*$", re.MULTILINE)
FIGURE = re.compile(r"^```\{figure\} (\S+)\n((?::[^\n]*\n)*)([\s\S]*?)^```[ \t]*$", re.MULTILINE)
ALT = re.compile(r"^:alt: (.*)$", re.MULTILINE)
NUMBERED = re.compile(r"\{numref\}`[^`]+`")
LABEL = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)


def box(found: re.Match[str]) -> str:
    """A box of the book in plain Markdown: one that is folded as `<details>`, others as a quotation."""
    name, options, text = found[2].strip(), found[3], found[4].strip()
    if "dropdown" in options:
        return f"<details>\n<summary>{name}</summary>\n\n{text}\n\n</details>"
    return "\n".join(f"> {line}".rstrip() for line in [f"**{name}**", "", *text.splitlines()])


def show_pictures(cell: NotebookNode, files: dict[str, bytes]) -> None:
    """Put the pictures of a cell into the notebook, in place: Colab opens no files beside it."""

    def attached(found: re.Match[str]) -> str:
        name, alt = Path(found[1]).name, ALT.search(found[2])
        cell.setdefault("attachments", {})[name] = {
            "image/png": base64.b64encode(files[found[1]]).decode("ascii")
        }
        return f"![{alt[1] if alt else ''}](attachment:{name})\n\n{found[3].strip()}"

    cell.source = FIGURE.sub(attached, cell.source)


def fold_for_colab(cell: NotebookNode) -> None:
    """Fold a cell in Colab too, which hides the code of a cell with a title."""
    tags = cell.metadata.get("tags", [])
    for tag, name in FOLDS.items():
        if tag in tags:
            cell.metadata["cellView"] = "form"
            cell.source = f"# @title {name}\n{cell.source}"
            return


def install_cell(repository: str, branch: str, commit: str) -> NotebookNode:
    """The folded cell that a notebook begins with."""
    source = INSTALL.format(repository=repository, branch=branch, requirement=requirement(repository, commit))
    metadata = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-input"]}
    return nbformat.v4.new_code_cell(source.rstrip(), id="install", metadata=metadata)


def requirement(repository: str, commit: str) -> str:
    """What pip installs minigan from: the sources at that commit, with ImageNet features."""
    return f"minigan[features] @ git+{repository}@{commit}"


def branch_files(
    repository: str, commit: str, book: str = "", branch: str = BRANCH, root: Path = ROOT
) -> dict[str, bytes]:
    """All files of the branch, by path.

    Args:
        repository: its public address, such as "https://github.com/someone/minigan".
        commit: of the sources that notebooks install.
        book: where the published book lies, for links to its pages; "" leaves titles without a link.
        branch: the name under which the files will be published.
        root: the checkout.
    """
    repository, book = repository.rstrip("/"), book.rstrip("/")
    drawn = pictures(root)
    links = {name: (text, f"{book}/book/{name}.html" if book else "") for name, text in titles(root).items()}
    library = parse_file(root / "book" / "references.bib", bib_format="bibtex")
    plain = partial(ROLE.sub, partial(in_words, links=links, library=library))
    files = {f"book/{name}": content for name, content in records(root).items()}
    for path in chapters(root):
        notebook = read(path)
        remove_outputs(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                fold_for_colab(cell)
                continue
            cell.source = NUMBERED.sub("the figure", LABEL.sub("", plain(cell.source)))
            show_pictures(cell, drawn)
            cell.source = BOX.sub(box, cell.source)
        notebook.cells.insert(0, install_cell(repository, branch, commit))
        files[f"book/{path.name}"] = (nbformat.v4.writes(notebook) + "\n").encode()
    wanted = [f"--extra-index-url {TORCH}", requirement(repository, commit), *BESIDE]
    files["requirements.txt"] = ("\n".join(wanted) + "\n").encode()
    files["runtime.txt"] = b"python-3.12\n"
    files["README.md"] = README.format(repository=repository, commit=commit).encode()
    return files


def main(arguments: list[str] | None = None) -> None:
    """The command line, as described at the top of this file."""
    given = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--repository", default=given("MINIGAN_REPOSITORY", ""), help="its public address")
    parser.add_argument("--branch", default=given("MINIGAN_NOTEBOOKS") or BRANCH, help="of the notebooks")
    parser.add_argument("--book", default=given("MINIGAN_BOOK_URL", ""), help="where the book is published")
    parser.add_argument("--commit", help="of the sources to install; default: that of this checkout")
    options = parser.parse_args(arguments)
    if not options.repository:
        parser.error(
            "expected the repository's address, got none; set MINIGAN_REPOSITORY or give --repository"
        )
    commit = options.commit or subprocess.check_output(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], text=True
    )
    files = branch_files(options.repository, commit.strip(), options.book, options.branch)
    for name, content in files.items():
        path = options.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    print(f"{len(files)} files for the branch {options.branch} are in {options.output}")


if __name__ == "__main__":
    main()
