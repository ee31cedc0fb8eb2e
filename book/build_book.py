"""Runs the chapters that have no outputs yet, builds the HTML book and checks that no page is missing.

    python book/build_book.py                  # what `make book` does
    python book/build_book.py --execute all    # what `make execute` does
    python book/build_book.py --execute none --output /tmp/book    # only the HTML, in another folder

The outputs of a chapter are committed with it, so a chapter is run only when one of its code cells has
never been run, or with `--execute all`. Any warning, and any page of `_toc.yml` that is missing in the
HTML, is an error.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parents[1]


def pages(root: Path = ROOT) -> list[str]:
    """All pages in `_toc.yml`, in reading order, without suffix, such as "book/intro"."""

    def files(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value
                else:
                    yield from files(value)
        elif isinstance(node, list):
            for item in node:
                yield from files(item)

    return list(files(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


def chapters(root: Path = ROOT) -> list[Path]:
    """The pages that are notebooks."""
    return [path for page in pages(root) if (path := root / f"{page}.ipynb").exists()]


def must_run(path: Path) -> bool:
    """Whether a code cell of the notebook has never been run."""
    cells = nbformat.read(path, as_version=4).cells
    return any(
        cell.cell_type == "code" and cell.source.strip() and not cell.execution_count for cell in cells
    )


def execute(path: Path, cell_timeout: int) -> None:
    """Run a notebook from top to bottom in its folder; write it only if no cell fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=cell_timeout,
        kernel_name="python3",
        record_timing=False,  # times change with every run, and would appear in every diff
        extra_arguments=["--log-level=40"],  # errors only
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    tidy(notebook)
    fold(notebook)
    nbformat.write(notebook, path)


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Make the outputs of a notebook reproducible and small, in place.

    Pillow sends each picture twice, as PNG and as JPEG: the PNG stays. Addresses of objects are removed,
    and the temporary file that a warning names. The text that a cell prints arrives in a varying number
    of pieces: these are joined. Outputs of cells with the tag "remove-output" are removed, because they
    need a live kernel, and so is the state of their widgets.
    """
    notebook.metadata.pop("widgets", None)  # while cells run, the client cannot do without
    for cell in notebook.cells:
        outputs = []
        if "remove-output" in cell.metadata.get("tags", []):
            cell["outputs"] = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data.pop("image/jpeg", None)
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", data["text/plain"])
            if output.output_type == "stream":
                output["text"] = re.sub(r"\S*ipykernel_\d+\S*: (?=\w*Warning: )", "", output.text)
            last = outputs[-1] if outputs else {}
            if output.output_type == "stream" and last.get("name") == output.name:
                last["text"] += output.text
            else:
                outputs.append(output)
        if cell.cell_type == "code":
            cell["outputs"] = outputs


#: What JupyterLab hides of a cell with a tag of Jupyter Book, which folds or removes it.
FOLDED = {
    "hide-cell": {"source_hidden", "outputs_hidden"},
    "remove-cell": {"source_hidden", "outputs_hidden"},
    "hide-input": {"source_hidden"},
    "remove-input": {"source_hidden"},
    "hide-output": {"outputs_hidden"},
}


def fold(notebook: nbformat.NotebookNode) -> bool:
    """Hide in JupyterLab what the tags hide in the book, in place; whether that changed anything."""
    changed = False
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        folded = set().union(*(FOLDED.get(tag, ()) for tag in cell.metadata.get("tags", [])))
        before = cell.metadata.get("jupyter", {})
        after = {key: value for key, value in before.items() if key not in FOLDED["hide-cell"]}
        after |= dict.fromkeys(sorted(folded), True)
        if after != before:
            cell.metadata["jupyter"] = after
            changed = True
        if not after:
            cell.metadata.pop("jupyter", None)
    return changed


def build(output: Path, root: Path = ROOT) -> Path:
    """Build the HTML book in `output` and return its first page.

    Raises:
        SystemExit: with one sentence, if there was a warning or a page is missing.
    """
    # Sphinx skips pages that did not change, and with them their warnings: delete the old build.
    shutil.rmtree(output / "_build", ignore_errors=True)
    program = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    strict = ["--warningiserror", "--keep-going", "--nitpick"]
    result = subprocess.run(
        [*program, "build", str(root), "--path-output", str(output), *strict],
        cwd=root,
        env={**os.environ, "PYTHONUTF8": "1"},  # the progress messages are not all ASCII
    )
    if result.returncode:
        sys.exit("The book was not built cleanly: see the warnings and errors above.")
    html = output / "_build" / "html"
    missing = [page for page in pages(root) if not (html / f"{page}.html").exists()]
    if missing:
        sys.exit(f"_toc.yml lists pages that are missing in {html}: {', '.join(missing)}")
    return html / "index.html"


def main() -> None:
    """The command line, as described at the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--execute", choices=["needed", "all", "none"], default="needed")
    parser.add_argument("--cell-timeout", type=int, default=300, help="seconds for one cell")
    parser.add_argument("--output", type=Path, default=ROOT, help="the folder for _build")
    arguments = parser.parse_args()

    wanted = {"needed": must_run, "all": lambda path: True, "none": lambda path: False}
    for path in chapters():
        if wanted[arguments.execute](path):
            print(f"running {path.relative_to(ROOT)}", flush=True)
            try:
                execute(path, arguments.cell_timeout)
            except (CellExecutionError, CellTimeoutError) as error:
                sys.exit(f"{path.relative_to(ROOT)} did not run to its end:\n{error}")
    print(f"The book is ready: open {build(arguments.output.resolve())}")


if __name__ == "__main__":
    main()
