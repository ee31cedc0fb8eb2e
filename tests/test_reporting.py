"""`minigan report`: one HTML file about the images of a folder, from a saved detector."""

import os
import re

import forks
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

import minigan
from minigan import data, metrics, report_page
from minigan.cli import main
from minigan.report_page import Html

#: A name that ends an attribute and an element where it is not escaped; on Windows it cannot exist.
HOSTILE = "'><img src=x onerror=alert(1)>\"&.png" if os.name != "nt" else "'&.png"


def write(folder, pictures, names="{:02}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / names.format(i))


def run(*arguments, cwd):
    return forks.run_python(["-m", "minigan", *arguments], cwd, dict(os.environ), timeout=200)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A data set in MVTec AD's layout, a network that has learned from it, and its report."""
    folder = tmp_path_factory.mktemp("reported")
    textures = data.load("textures", category="brick", size=32)
    good, bad = textures.images[textures.labels == 0], textures.images[textures.labels == 3]
    write(folder / "brick/train/good", good[:40])
    write(folder / "brick/test/good", good[40:50])
    write(folder / "brick/test/scratch", bad[:6])
    (folder / "brick/test/scratch/05.png").rename(folder / "brick/test/scratch" / HOSTILE)
    masks = np.zeros((5, 32, 32), np.uint8)
    masks[:, 8:16, 4:24] = 255
    write(folder / "brick/ground_truth/scratch", masks, "{:02}_mask.png")
    write(folder / "brick/test/good", good[40:41], "copy.png")
    (folder / "brick/test/good/broken.png").write_bytes(b"no picture")
    settings = ["--method", "OCGAN", "--image-size", "16", "--set", "epochs=2", "width=4", "z_dim=4"]
    fitted = run("fit", "brick", "--out", "b.safetensors", *settings, cwd=folder)
    assert fitted.returncode == 0, fitted.stderr
    done = run("report", "b.safetensors", "brick", "--out", "r.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, fitted, done


@pytest.fixture(scope="module")
def page(reported):
    return BeautifulSoup((reported[0] / "r.html").read_text(encoding="utf-8"), "html.parser")


def rows(page, caption):
    """The rows of a table as lists of texts."""
    (table,) = [t for t in page.find_all("table") if t.caption.get_text() == caption]
    return [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]


@pytest.fixture(scope="module")
def scored(reported):
    """What the library says about the same images: paths, scores, and the truth."""
    test = reported[0] / "brick" / "test"
    files = sorted(path for path in test.rglob("*.png") if path.name != "broken.png")
    detector = minigan.load(reported[0] / "b.safetensors")
    images = np.stack([np.asarray(Image.open(path).resize((16, 16), Image.BILINEAR)) for path in files])
    return detector, images, files, np.array([path.parent.name == "scratch" for path in files])


def test_scores_and_threshold_are_those_of_the_library(reported, page, scored):
    detector, images, _, truth = scored
    scores = detector.anomaly_score(images)
    flagged = scores > detector.threshold_
    text = page.get_text(" ")
    assert reported[2].stdout == f"{flagged.sum()} of 17 images lie above the threshold; see r.html\n"
    assert f"{flagged.sum()} of 17 images lie above the threshold {detector.threshold_:.4g}" in text
    assert f"AUROC {metrics.auroc(truth, scores):.3f}:" in text
    low, high = metrics.flagged_interval(detector.calibration_scores_, detector.threshold_)
    assert f"Of new normal images, {100 * low:.0f} to {100 * high:.0f} % may" in text
    assert rows(page, "Confusion counts") == [
        ["normal", str(flagged[~truth].sum()), str((~flagged)[~truth].sum())],
        ["anomalous", str(flagged[truth].sum()), str((~flagged)[truth].sum())],
    ]
    folders = {row[0]: row[1:3] for row in rows(page, "By folder")}
    assert folders["good"] == ["11", str(flagged[~truth].sum())] and folders["scratch"][0] == "6"


def test_the_most_and_the_least_normal_images_and_mistakes_are_shown(page, scored):
    detector, images, files, truth = scored
    scores = detector.anomaly_score(images)
    order, flagged = np.argsort(scores, kind="stable"), scores > detector.threshold_
    names = [path.relative_to(files[0].parents[1]).as_posix() for path in files]
    galleries = [
        [image["alt"] for image in gallery.find_all("img")] for gallery in page.select("section .gallery")
    ]
    assert galleries[0] == [names[i] for i in order[::-1][:8]]
    assert galleries[1] == [names[i] for i in order[:8]]
    missed = [names[i] for i in order if truth[i] and not flagged[i]]
    false = [names[i] for i in order[::-1] if flagged[i] and not truth[i]]
    assert galleries[2:4] == [missed[:8], false[:8]] and len(missed) + len(false) > 0
    assert galleries[4] == [f"heat map over {names[i]}" for i in order[::-1][:8]]
    titles = [title.get_text() for title in page.find_all("h3")]
    assert titles[2:4] == [f"Anomalous, but not flagged: {len(missed)}", f"Normal, but flagged: {len(false)}"]


def test_heat_maps_are_compared_with_masks(page, scored):
    """Anomalies without a mask, of which there is one, do not count: nobody knows where they are."""
    detector, images, files, truth = scored
    known = ~truth | np.array([path.name != HOSTILE for path in files])
    marked = np.zeros((len(files), 16, 16), bool)
    marked[truth, 4:8, 2:12] = True
    maps = detector.anomaly_map(images[known])
    value = metrics.auroc(marked[known].ravel(), maps.ravel())
    assert f"Pixel AUROC {value:.3f}:" in page.get_text() and "over 16 images, 5 of them" in page.get_text()
    assert f"PRO {metrics.pro(marked[known], maps):.3f}:" in page.get_text()


def test_data_and_settings_are_described(page, scored):
    photographs = {name: values for name, *values in rows(page, "Photographs")}
    assert photographs["images"] == ["17", "40"]
    assert photographs["sizes in pixels"] == ["32 x 32 (17)", "32 x 32 (40)"]
    assert photographs["copies of another image"] == ["1", "0"]
    assert photographs["files that cannot be read"][0] == "1"
    assert photographs["left out"] == ["0", "5 masks, 18 in test/"]
    assert "good/broken.png: cannot be read (cannot identify image file" in page.get_text()
    settings = dict(rows(page, "Settings"))
    assert settings["epochs"] == "2" and settings["seed"] == "0" and settings["z_dim"] == "4"
    versions = dict(rows(page, "Training, and the versions of that day"))
    assert versions["minigan"] == minigan.__version__ and versions["numpy"] == np.__version__
    alts = [image["alt"] for image in page.find_all("img")]
    assert any(alt.startswith("Training curves over 2 epochs: ") for alt in alts)
    assert any(alt.startswith("Histogram of 17 anomaly scores from ") for alt in alts)


def test_file_names_are_text_and_nothing_is_loaded(page):
    names = {tag.name for tag in page.find_all(True)}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    for image in page.find_all("img"):
        assert image["src"].startswith("data:image/png;base64,") and set(image.attrs) == {"src", "alt"}
    assert f"scratch/{HOSTILE}" in [image["alt"] for image in page.find_all("img")]
    assert not re.search(r"https?:|url\(|@import", page.style.get_text())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_a_browser(browser, reported, scheme):
    """No request, no message, nothing that runs, nothing for axe to mend; it fits a phone."""
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, offline=True)
    opened, wrong = context.new_page(), []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
    opened.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    opened.goto((reported[0] / "r.html").as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    brightness = opened.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] / 255")
    assert (brightness > 0.5) == (scheme == "light") and wrong == []
    found = Axe().run(opened).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []
    context.close()


# ---------------------------------------------------------------------- other folders, mistakes


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """Fours to learn from and others, in no folders that say what is normal, and a method without maps."""
    images = data.load("digits", size=8)
    fours = images.images[images.labels == 4]
    write(tmp_path / "good_ones", fours[:60])
    write(tmp_path / "new", fours[60:80])
    monkeypatch.chdir(tmp_path)
    minigan.KernelDensity(image_size=8).fit(tmp_path / "good_ones").save("p.safetensors")
    return tmp_path


def test_without_labels_maps_and_notes(digits, capsys):
    """A detector that the library saved knows nothing about the files that it learned from."""
    assert main(["report", "p.safetensors", "new", "--out", "r.html"]) == 0
    page = BeautifulSoup((digits / "r.html").read_text(encoding="utf-8"), "html.parser")
    assert [h2.get_text() for h2 in page.find_all("h2")] == ["Decision", "Images", "Data", "Method"]
    assert page.h1.get_text() == f"KernelDensity on {digits.name}/new"
    assert str(digits) not in page.get_text()
    assert [len(row) for row in rows(page, "Photographs")] == [2] * 7


def test_a_failed_report_leaves_the_old_one(digits, capsys, monkeypatch):
    (digits / "r.html").write_text("old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main(["report", "p.safetensors", "new", "--out", "r.html"]) == 2
    assert (digits / "r.html").read_text() == "old" and "No space left" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["good_ones", "new", "p.safetensors", "r.html"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing", "new", "--out", "r.html"], "expected a checkpoint, got 'nothing'"),
        (["p.safetensors", "nowhere", "--out", "r.html"], "expected a folder of images, got 'nowhere'"),
        (["p.safetensors", "new", "--out", "no/r.html"], "expected a folder to save into, got 'no'"),
        (["p.safetensors", "new", "--out", "p.safetensors"], "got 'p.safetensors', which is the model"),
        (["p.safetensors", "bad", "--out", "r.html"], "files that can be read, got 2 that cannot, such as"),
    ],
)
def test_a_mistake_is_answered_with_one_sentence(digits, capsys, arguments, sentence):
    (digits / "bad").mkdir()
    for name in ("a.png", "b.jpg"):
        (digits / "bad" / name).write_bytes(b"no picture")
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("minigan: expected ") and said.count("\n") == 1


# ---------------------------------------------------------------------- HTML


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b> & \"x\" 'y'", "&lt;b&gt; &amp; &quot;x&quot; &#x27;y&#x27;"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("abc\u202egnp.exe", "abc\\u202egnp.exe"),  # would show its end backwards
        (os.fsdecode(b"\xff.png") if os.name != "nt" else "\udcff.png", "\\udcff.png"),
        ("日本 ü", "日本 ü"),
        (Html("<b>"), "<b>"),
        (3, "3"),
    ],
)
def test_everything_but_html_is_escaped(text, shown):
    assert report_page.as_html(text) == shown
    attribute = report_page.element("p", text, aria_label="x")
    assert attribute == f'<p aria-label="x">{shown}</p>'
    assert report_page.page("t", text, []).encode("utf-8")  # no lone surrogate is left


def test_columns_of_numbers_stand_at_the_right():
    lines = [["x", 5, "5 x 5"], ["y", "3 %", 7], ["z", "1e-05", 8]]
    html = BeautifulSoup(report_page.table(["a", "b", "c"], lines, "d"), "html.parser")
    for row in html.find_all("tr"):
        assert ["class" in cell.attrs for cell in row.find_all(["th", "td"])] == [False, True, False]
