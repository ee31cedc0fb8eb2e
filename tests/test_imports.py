"""Who may import whom: the rules of `CONTRIBUTING.md`, read from the sources."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "minigan"
CONTRACT = {"checks", "detector", "neural", "images", "saliency", "torch_state"}
#: Folder -> what its modules may import of minigan (a folder stands for all of its modules).
ALLOWED = {
    "models": CONTRACT | {"blocks", "models._pretrained", "models._subclasses"},
    "blocks": {"blocks", "checks", "images"},
    "data": {"data", "checks", "files", "image_files", "mask_files", "paths"},
    "tables": {"tables", "data", "checks", "defaults"},
}


def name_of(path: Path) -> str:
    """minigan/models/algan.py -> "models.algan"; minigan/models/__init__.py -> "models"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of minigan that a module imports, at the top or inside of functions."""
    found = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "minigan":
            base = node.module.removeprefix("minigan").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {n if n in MODULES else base for n in names}
    return found - {name}


GRAPH = {name: imports(name) for name in MODULES if name}  # minigan/__init__ only forwards to the others


def test_there_is_no_circle_of_imports():
    assert len(list(graphlib.TopologicalSorter(GRAPH).static_order())) >= len(GRAPH) > 40


@pytest.mark.parametrize("name", [n for n in GRAPH if n.split(".")[0] in ALLOWED])
def test_a_module_imports_only_what_its_folder_may(name):
    allowed = ALLOWED[name.split(".")[0]]
    wrong = {other for other in GRAPH[name] if other not in allowed and other.split(".")[0] not in allowed}
    assert not wrong, f"minigan.{name} imports {wrong}; allowed are {sorted(allowed)} (see CONTRIBUTING.md)"
    if name.startswith("data."):
        assert "data" not in GRAPH[name], f"minigan.{name} imports the package of which it is a part"


def test_only_the_command_line_imports_experiments():
    users = {name for name, others in GRAPH.items() if any(o.startswith("experiments") for o in others)}
    assert {name.split(".")[0] for name in users} <= {"experiments", "cli"}


@pytest.mark.parametrize("module", ["minigan", "minigan.data", "minigan.tables", "minigan.cli"])
def test_light_modules_import_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_module_is_longer_than_400_lines():
    lengths = {p: p.read_text(encoding="utf-8").count("\n") for p in PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)
