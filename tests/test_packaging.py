"""What stands in more than one place says the same everywhere: names, bounds, versions, pins."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import tomllib
import venv
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}  # where they differ from PyPI's

PLATFORMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
]
PYTHONS = ["3.11", "3.12", "3.13"]


def declared() -> dict[str, Requirement]:
    """Every dependency of pyproject.toml, those of the extras included, by name."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, sum(lists, [])):
        if requirement.name == "minigan":  # one extra includes another
            assert requirement.extras <= set(PROJECT["optional-dependencies"])
            continue
        known = found.setdefault(requirement.name, requirement)
        assert known.specifier == requirement.specifier, f"two ranges for {requirement.name}"
    return found


def locked(platform: dict[str, str], python: str) -> dict[str, Version]:
    """The versions that the lock file installs there."""
    there = {**platform, "python_version": python, "python_full_version": f"{python}.9"}
    pins: dict[str, Version] = {}
    for requirement in LOCK:
        if requirement.marker is None or requirement.marker.evaluate(there):
            assert requirement.name not in pins, f"two versions of {requirement.name}"
            (pin,) = requirement.specifier
            assert pin.operator == "==", requirement
            pins[requirement.name] = Version(pin.version)
    return pins


def test_the_library_alone_brings_no_book_tools():
    names = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not names & {"jupyter-book", "jupyterlab", "ipykernel", "ipywidgets", "pytest", "nbval", "ruff"}


@pytest.mark.parametrize("name", declared())
def test_ranges_have_a_lower_bound_and_no_upper_one(name):
    operators = {s.operator for s in declared()[name].specifier}
    exceptions = {"jupyter-book": {"<"}, "jupyterlab-myst": {"!="}}
    assert operators == {">="} | exceptions.get(name, set())


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform["sys_platform"])
def test_lock_covers_every_dependency_within_its_range(platform, python):
    assert Version(python) in SpecifierSet(PROJECT["requires-python"])
    pins = locked(platform, python)
    wrong = {
        n: str(pins.get(n)) for n, r in declared().items() if n not in pins or pins[n] not in r.specifier
    }
    assert wrong == {}


def test_lock_works_from_any_index_on_any_machine():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|file:|@|^-|\+cpu|\+cu|^\s*/", text, flags=re.MULTILINE)
    # CUDA's libraries come with torch where it wants them; pinned here, they would go on every laptop.
    assert not re.search(r"^(nvidia|cuda|triton)", text, flags=re.MULTILINE)


def test_environment_yml_says_the_same_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    listed = [MatchSpec(line) for line in environment["dependencies"] if isinstance(line, str)]
    conda = {spec.name.normalized: spec for spec in listed}
    assert len(conda) == len(listed)

    python = conda.pop("python")
    assert bounds(str(python.version)) == bounds(PROJECT["requires-python"])
    conda.pop("pip")
    expected = {CONDA_NAMES.get(n, n): bounds(str(r.specifier)) for n, r in declared().items()}
    # What conda-forge does not have, or may not have, is installed by pip, from the same lines.
    (by_pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    axe = [line for line in PROJECT["optional-dependencies"]["test"] if line.startswith("axe-")]
    assert by_pip == [*PROJECT["optional-dependencies"]["features"], *axe, "--editable ."]
    expected = {n: b for n, b in expected.items() if n not in {Requirement(p).name for p in by_pip[:-1]}}
    assert {name: bounds(str(spec.version)) for name, spec in conda.items()} == expected


def bounds(text: str) -> set[str]:
    """ ">=1.0.4,<2" -> {">=1.0.4", "<2"}."""
    return set(text.replace(" ", "").split(","))


def test_version_and_title_are_the_same_everywhere():
    import minigan

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert minigan.__version__ == citation["version"] == PROJECT["version"]
    assert citation["title"] == config["title"]
    assert citation["license"] == PROJECT["license"]


def test_ci_runs_what_people_run():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().endswith("make test")
    assert "make test" in (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")


def test_ci_takes_the_oldest_and_the_newest_python_on_three_systems():
    matrix = workflow("tests")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert [system.split("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path):
    uses = re.findall(r"uses:\s*(.+)", path.read_text(encoding="utf-8"))
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", action), action


def test_every_workflow_names_one_commit_for_an_action():
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    pins = {tuple(pin) for text in texts for pin in re.findall(r"uses:\s*(\S+)@(\w+)", text)}
    assert len(pins) == len(dict(pins))


#: What a job may do beyond reading: publish pages, and write the branch that Colab and Binder open.
ALLOWED = {
    ("book", "publish"): {"pages": "write", "id-token": "write"},
    ("book", "notebooks"): {"contents": "write"},
}


def test_the_book_names_the_branch_that_the_workflow_writes():
    jobs = workflow("book")["jobs"]
    (branch,) = [step["env"]["MINIGAN_NOTEBOOKS"] for step in jobs["build"]["steps"] if "env" in step]
    commands = jobs["notebooks"]["steps"][-1]["run"]
    assert f"--branch {branch} " in commands and f"--initial-branch {branch}\n" in commands
    assert f'$GITHUB_REPOSITORY" {branch}\n' in commands


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_ask_for_least_permissions(path):
    content = workflow(path.stem)
    assert content["permissions"] == {"contents": "read"}
    for name, job in content["jobs"].items():
        assert job["timeout-minutes"] <= 120
        assert job.get("permissions") == ALLOWED.get((path.stem, name))
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def workflow(name: str) -> dict:
    """A workflow file, read as YAML."""
    return yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8"))


def dry_run(target: str, *variables: str) -> str:
    """What `make` would run, on Linux unless the variables say otherwise."""
    command = ["make", "--dry-run", "--always-make", target, "SYSTEM=Linux x86_64", *variables]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_pytorch_comes_without_cuda_where_its_index_answers():
    pins = " ".join(str(pin) for pin in LOCK if pin.name in ("torch", "torchvision"))
    install = f"-m pip install --no-deps --index-url https://download.pytorch.org/whl/cpu {pins};"
    printed = dry_run("env")
    assert install in printed and "timeout=5" in printed and "cannot be reached" in printed
    assert printed.index(install) < printed.index("-m pip install -r requirements.lock")
    for usual in ("TORCH=gpu", "TORCH_INDEX=", "SYSTEM=Darwin arm64", "SYSTEM=MINGW64_NT x86_64"):
        assert "--index-url" not in dry_run("env", usual)
    named = dry_run("env", "TORCH_INDEX=https://example.org/cu")  # it has to answer: nothing asks it before
    assert f"--index-url https://example.org/cu {pins};" in named and "timeout" not in named


def test_an_unreachable_index_costs_seconds_and_a_line(tmp_path):
    """The line that asks PyTorch's index, with one in its place that nobody serves."""
    (line,) = [line for line in dry_run("env").splitlines() if line.startswith("if ")]
    line = line.replace("https://download.pytorch.org", "http://127.0.0.1:9")
    python = f"{tmp_path.as_posix()}/python"  # no pip is to run
    Path(python).write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" "$@"\necho ran pip\n')
    Path(python).chmod(0o755)
    line = re.sub(r"\.venv/\w+/python", python, line)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.count("\n") == 1
        and "cannot be reached: PyTorch comes from the usual index" in done.stdout
    )


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("TORCH=cuda", "expected TORCH=cpu or TORCH=gpu, got TORCH=cuda"),
        ("SYSTEM=Darwin x86_64", "no builds for Intel Macs"),
    ],
)
def test_make_says_what_cannot_be_installed(variable, words):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        dry_run("env", variable)
    assert words in caught.value.stderr


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    """A pure Python wheel of these files, and what pip wants to know of them."""
    info = f"{name}-{version}.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


@pytest.fixture
def indexes(tmp_path):
    """Addresses on this machine: of a usual index, and of one with PyTorch's CPU builds.

    Packages are empty but for setuptools, which is packed again from this environment, since it has to work.
    """
    usual, cpu = tmp_path / "usual", tmp_path / "cpu"
    setuptools = distribution("setuptools")
    read = {str(path): path.locate().read_bytes() for path in setuptools.files or [] if ".." not in str(path)}
    sources = {path: content for path, content in read.items() if ".dist-info/" not in path}
    entry_points = {path: content for path, content in read.items() if path.endswith("/entry_points.txt")}
    write_wheel(usual / "setuptools", "setuptools", setuptools.version, sources | entry_points)
    for pin in LOCK:
        (version,) = [each.version for each in pin.specifier]
        if pin.name in ("torch", "torchvision"):
            write_wheel(usual / pin.name, pin.name, version, {f"{pin.name}.py": b""})
            write_wheel(cpu / pin.name, pin.name, f"{version}+cpu", {f"{pin.name}.py": b""})
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield f"{address}/usual", f"{address}/cpu"
        server.shutdown()


def make_in(clone: Path, *arguments: str, **environment: str) -> str:
    """Run make in a copy of the project, with nothing but the environment given to pip; what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE"))}
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", "SYSTEM=Linux x86_64", *arguments],
        cwd=clone,
        env=kept | environment | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_folder_of_wheels_is_filled_and_installed_from_without_a_network(tmp_path, indexes):
    usual, cpu = indexes
    pins = [str(pin) for pin in LOCK if pin.name in ("torch", "torchvision")]
    for clone in (tmp_path / "teacher", tmp_path / "laptop"):
        clone.mkdir()
        for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, clone)
        shutil.copytree(ROOT / "minigan", clone / "minigan", ignore=shutil.ignore_patterns("__pycache__"))
        (clone / "requirements.lock").write_text("\n".join(pins) + "\n", encoding="utf-8")
    make_in(tmp_path / "teacher", "wheelhouse", f"TORCH_INDEX={cpu}", PIP_INDEX_URL=usual)
    wheels = tmp_path / "teacher" / "wheelhouse"
    assert len(list(wheels.glob("torch*+cpu*.whl"))) == 2 and len(list(wheels.glob("setuptools-*"))) == 1
    nobody = "http://127.0.0.1:9"  # no index is asked
    make_in(tmp_path / "laptop", "env", f"WHEELS={wheels}", f"TORCH_INDEX={nobody}", PIP_INDEX_URL=nobody)
    (python,) = (tmp_path / "laptop" / ".venv").glob("*/python")
    code = "import importlib.metadata as m, minigan; print(m.version('torch'), minigan.__version__)"
    printed = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    (torch,) = [pin for pin in pins if pin.startswith("torch==")]
    assert printed.stdout.split() == [torch.removeprefix("torch==") + "+cpu", PROJECT["version"]]
    assert "wheelhouse/" in (ROOT / ".gitignore").read_text()


def test_vendored_files_carry_their_licence():
    vendor = ROOT / "book" / "_static" / "vendor"
    notice = (vendor / "README.md").read_text(encoding="utf-8")
    for folder in (path for path in vendor.iterdir() if path.is_dir()):
        assert (folder / "LICENSE").exists()
        assert f"`{folder.name}/`" in notice


def test_no_file_names_a_registry_or_a_folder_of_a_machine():
    for name in (
        "pyproject.toml",
        "requirements.lock",
        "environment.yml",
        "Makefile",
        "_config.yml",
        ".ci/run",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"pypi\.org|pythonhosted|anaconda\.org|/opt/|/home/", text), name
        assert str(ROOT) not in text, name


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A Python of its own in which the built wheel is installed, outside of this checkout.

    The packages that minigan needs are those of this environment; installing them anew would take minutes.
    """
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # setuptools leaves a build folder beside what it builds
    shutil.copytree(ROOT / "minigan", source / "minigan", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    wheel = [*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(wheel, cwd=source, check=True)
    venv.create(folder / "venv", with_pip=False)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    python = folder / "venv" / scripts / Path(sys.executable).name
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(
        subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    )
    # A path in a .pth file is searched, but its own .pth files are not: no editable install of minigan.
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(built)], check=True)
    return python


def test_the_wheel_runs_the_lines_of_the_readme(installed, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    short = re.sub(r"epochs=\d+", "epochs=1", snippet)
    check = "import minigan, pathlib\nprint(len(labels), pathlib.Path(minigan.__file__).parent)"
    done = subprocess.run(
        [installed, "-c", f"{short}\n{check}"], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    count, folder = done.stdout.split(maxsplit=1)
    assert int(count) > 0 and Path(folder.strip()).is_relative_to(installed.parents[1])


def test_the_wheel_has_every_module_and_its_types(installed, tmp_path):
    code = """
import importlib, pathlib, pkgutil, minigan
for module in pkgutil.walk_packages(minigan.__path__, "minigan."):
    if module.name != "minigan.__main__":
        importlib.import_module(module.name)
        print(module.name)
assert (pathlib.Path(minigan.__file__).parent / "py.typed").exists()
for name in minigan.__all__:
    getattr(minigan, name)
"""
    done = subprocess.run([installed, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = {name.replace(".", "/") for name in done.stdout.split()}
    modules = {p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "minigan").rglob("*.py")}
    assert found == {m.removesuffix("/__init__") for m in modules} - {"minigan", "minigan/__main__"}
