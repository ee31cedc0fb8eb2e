"""What the README tells people to type is run here, in subprocesses, with small data of the same form."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import forks
import pytest
import readme_status
from PIL import Image

import minigan
from minigan import data, methods, report, tables
from minigan.exporting import to_onnx

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()
]
COMMANDS += re.findall(r"`((?:conda|python) [^`]+)`", README)  # those inside sentences


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command, which must succeed; what it printed."""
    environment = {**os.environ, **environment}
    if command[0] == sys.executable and command[1] != "-c":
        done = forks.run_python(command[1:], cwd, environment, timeout=280)
    else:
        options = {"cwd": cwd, "env": environment, "timeout": 280}
        done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with what the README's commands expect: good parts, new parts, a place for results."""
    textures = data.load("textures", category="brick", size=64)
    good, bad = textures.images[textures.labels == 0], textures.images[textures.labels == 3]
    for folder, images in (("good_parts", good[:12]), ("new_parts", [*good[-3:], *bad[:3]])):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / folder / f"{i:03}.png")
    shutil.copytree(tmp_path / "good_parts", tmp_path / "sorted_parts" / "good")
    shutil.copytree(tmp_path / "new_parts", tmp_path / "sorted_parts" / "bad")
    minigan.PCA(image_size=64).fit(tmp_path / "good_parts").save(tmp_path / "parts.safetensors")
    for folder in ("good_parts", "new_parts", "sorted_parts/good", "sorted_parts/bad"):
        (tmp_path / folder / "broken.png").write_bytes(b"no image")  # commands leave it out
    return tmp_path


def test_what_fails_in_a_warm_process_is_noticed(tmp_path: Path):
    """The tests below start their commands by `forks.run_python`."""
    done = forks.run_python(["-m", "minigan", "score", "nowhere"], tmp_path, dict(os.environ), timeout=280)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("minigan: expected ")
    (tmp_path / "fails.py").write_text("print('begins')\nraise ValueError('in the middle')\n")
    done = forks.run_python(["fails.py"], tmp_path, dict(os.environ), timeout=280)
    assert (done.returncode, done.stdout) == (1, "begins\n") and "ValueError: in the middle" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works(command: str, workplace: Path):
    words = shlex.split(command)
    if words[0] == "make":  # this test is part of one of them; what they would run is another matter
        printed = run("make", "--dry-run", "--always-make", "SYSTEM=Linux x86_64", *words[1:], cwd=ROOT)
        assert "requirements.lock" in printed
        other = "TORCH=gpu" in command or "WHEELS=" in command
        assert other != ("--index-url https://download.pytorch.org/whl/cpu" in printed)
        assert ("WHEELS=wheelhouse" in command) == ("--no-index --find-links wheelhouse" in printed)
    elif words[:2] == ["pip", "install"]:
        wheel = ["wheel", *words[2:], "--no-deps", "--no-build-isolation", "--wheel-dir", str(workplace)]
        copy = workplace / "source"  # setuptools leaves a build folder beside what it builds
        shutil.copytree(ROOT / "minigan", copy / "minigan")
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        run(sys.executable, "-m", "pip", *wheel, cwd=copy)
        (built,) = workplace.glob("*.whl")
        files = zipfile.ZipFile(built).namelist()
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minigan").rglob("*.py")}
        assert sources | {"minigan/py.typed"} <= set(files)
        assert not [name for name in files if name.startswith(("tests", "book", "data"))]
    elif words[0] == "minigan":
        words = [re.sub(r"^epochs=\d+", "epochs=1", word) for word in words]
        if words[1:3] == ["score", "parts.onnx"]:  # the command before writes it
            to_onnx(minigan.load(workplace / "parts.safetensors"), workplace / "parts.onnx")
        if words[1] == "reproduce":  # no time at all, so that nothing is downloaded or run
            words += ["--minutes", "0"]
        printed = run(sys.executable, "-m", *words, cwd=workplace, MINIGAN_DATA=str(workplace / "data"))
        if words[1] in ("threshold", "export"):
            assert {"threshold": "saved as parts.safetensors", "export": "parts.onnx"}[words[1]] in printed
        elif words[1] == "score" and "--out" not in words:
            assert "images lie above the threshold" in printed
        elif words[1] in ("fit", "compare"):
            assert ("parts.safetensors" if words[1] == "fit" else "AUROC") in printed
        elif words[1] == "report":
            assert "</html>" in (workplace / "report.html").read_text(encoding="utf-8")
        elif words[1] == "score":
            assert (workplace / "scores.csv").read_text().count("\n") >= 6
        else:
            asked = [word for word in words if word in tables.TABLES] or ["digits", "ygan-1"]
            assert [name for name in asked if name not in printed] == []  # with what is recorded of it
    elif words[0] == "conda":
        assert (ROOT / words[words.index("--file") + 1]).is_file()
    elif words[0] == "python":
        picture = workplace / "picture.png"
        run(sys.executable, *words[1:], "--epochs", "1", "--out", str(picture), cwd=ROOT)
        with Image.open(picture) as image:
            assert image.width > 800
    else:
        pytest.fail(f"the README has a command that this test does not know: {command}")


def test_the_lines_without_make_do_what_make_does():
    (lines,) = [text.splitlines() for kind, text in BLOCKS if kind == "sh"]
    printed = run("make", "--dry-run", "--always-make", "SYSTEM=Linux x86_64", "book", cwd=ROOT)
    assert lines[0] == "python3 -m venv .venv" and lines[0] in printed
    (index,) = re.findall(r"--index-url (\S+)", printed)
    assert lines[1].endswith(f"--extra-index-url {index} -r requirements.lock -e .")
    assert lines[2] == ".venv/bin/python book/build_book.py" and "book/build_book.py" in printed


def test_the_lines_of_python_work(tmp_path: Path):
    (snippet,) = [text for kind, text in BLOCKS if kind == "python"]
    short, n = re.subn(r"epochs=\d+", "epochs=2", snippet)
    assert n == 1
    check = "\nassert set(labels) <= {-1, 1} and len(labels) == len(split.test)\nprint(len(labels))"
    assert int(run(sys.executable, "-c", short + check, cwd=tmp_path)) > 0


def test_the_table_of_methods_is_complete_and_its_links_lead_somewhere():
    listed = re.findall(r"\[`(\w+)`\]\(minigan/models/\w+\.py\)", README)
    assert listed == methods()
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_status_table_is_that_of_the_records(tmp_path: Path, monkeypatch):
    """`python book/readme_status.py` writes it, and finds a table that somebody changed by hand."""
    section = README.partition(readme_status.START)[2].partition(readme_status.END)[0]
    table = report.status_markdown(ROOT / "data")
    assert section.strip() == table
    # It takes seconds, so it is made once.
    monkeypatch.setattr(report, "status_markdown", {ROOT / "data": table}.__getitem__)
    assert readme_status.main(["--check"]) == 0

    copy = tmp_path / "README.md"
    copy.write_text(README.replace("small runs fall short", "reproduced"), encoding="utf-8")
    assert readme_status.main(["--check", "--readme", str(copy)]) == 1
    assert readme_status.main(["--readme", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == README
    with pytest.raises(ValueError, match="expected <!-- status --> and <!-- /status -->"):
        readme_status.updated("# minigan\n<!-- status -->\n")
