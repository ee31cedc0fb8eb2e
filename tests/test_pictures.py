"""The committed pictures and the script that draws them: none is missing, and errors leave no broken file.

The tests do not use the real data sets, but a made-up MNIST and the digits of scikit-learn instead.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image

from minigan import experiments, metrics
from minigan.tables import Cell

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for end in ("ipynb", "md") for path in (ROOT / "book").glob(f"*.{end}"))
SHOWN = {
    name
    for page in PAGES
    for name in re.findall(r"_static/pictures/([\w-]+)\.png", page.read_text(encoding="utf-8"))
}
OF_NETWORKS = [name for name in pictures.PICTURES if not name.startswith("data-")]

#: Settings of networks that are trained for about a second.
TINY = {
    "ALGAN": {"width": 4, "epochs": 1, "extra_channels": True},
    "AGAD": {"width": 2, "epochs": 1, "batch_size": 32, "min_anomalies": 4},
    "ADeGAN": {"width": 4, "epochs": 1},
    "YGAN": {"width": 4, "epochs": 1},
    "SimultaneousEncoder": {"kimg": 0.3, "phase_kimg": 0.04, "width": 4, "max_width": 4, "z_dim": 8},
} | {method: {"width": 4, "epochs": 1} for method in pictures.FAMILY}
TINY["AnoGAN"] |= {"search_steps": 1}
TINY["FAnoGAN"] |= {"epochs": 2, "encoder_epochs": 1}
TINY["ADGAN"] |= {"generator": "naive"}


def tiny_cell(table: str, method: str, target: str, gamma: float = 0.0, budget: str = "quick") -> Cell:
    """In place of `pictures.cell_of`: the same method on coloured digits, 0 left out or normal.

    Those of the family, of which one is normal, and those in place of MNIST are grey.
    """
    if table == "family-digits":
        return Cell(table, method, "", "digits", {"size": 16}, "one_class", target, 0, TINY[method])
    protocol = "supervised" if gamma else "leave_one_out"
    options = {"size": 16, "n": 300}
    labelled = 0.1 if gamma else 0.0
    dataset = "digits" if table == "ygan-1" else "color_digits"
    return Cell(table, method, "", dataset, options, protocol, "0", 0, TINY[method], budget, labelled)


KNOWN: dict[tuple[str, ...], experiments.Trained] = {}


@pytest.fixture(scope="module", autouse=True)
def no_tiny_encoder_is_left() -> Iterator[None]:
    """Four pictures show one encoder, which is trained for the first of them."""
    yield
    pictures.encoder_of_cars.cache_clear()


@pytest.fixture
def tiny_networks(monkeypatch, tmp_path_factory) -> Iterator[None]:
    """Pictures of tiny networks, each trained once for all tests; the cache of `pictures` is emptied."""
    train = experiments.train

    def train_once(cell: Cell) -> experiments.Trained:
        if cell.key not in KNOWN:
            KNOWN[cell.key] = train(cell)
        return KNOWN[cell.key]

    monkeypatch.setattr(pictures, "cell_of", tiny_cell)
    monkeypatch.setattr(pictures, "data_folder", lambda: tmp_path_factory.mktemp("state"))
    monkeypatch.setattr(experiments, "train", train_once)
    pictures.trained.cache_clear()
    yield
    pictures.trained.cache_clear()


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder that minigan uses as its data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MINIGAN_DATA", str(folder))
    return folder


def make_mnist(folder: Path) -> None:
    """A file like Keras's: plain images, brighter for larger digits; test images are black."""
    y = np.repeat(np.arange(10), 6)
    x = np.broadcast_to((20 * y + 20).astype(np.uint8)[:, None, None], (60, 28, 28))
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=np.zeros_like(x), y_test=y)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")}


def test_every_picture_that_a_page_shows_can_be_drawn_and_is_there():
    assert set(pictures.PICTURES) >= SHOWN
    assert not {f"{name}.png" for name in SHOWN} - files(pictures.FOLDER)


def test_every_picture_that_is_there_has_its_function_and_is_small():
    assert {path.stem for path in pictures.FOLDER.iterdir()} <= set(pictures.PICTURES)
    for path in pictures.FOLDER.iterdir():
        assert path.suffix == ".png"
        assert path.stat().st_size <= pictures.LARGEST, path.name
        with Image.open(path) as picture:
            picture.load()  # the file is whole


def test_draws_pictures_whose_data_are_here_and_names_what_the_others_wait_for(data_folder, tmp_path, capsys):
    make_mnist(data_folder)
    Image.new("RGB", (20, 20)).save(data_folder / "one.png")
    for part in ("train/good", "test/good", "test/broken"):
        (data_folder / "mvtec" / "bottle" / part).mkdir(parents=True)
        (data_folder / "one.png").rename(data_folder / "mvtec" / "bottle" / part / "0.png")
        Image.new("RGB", (20, 20)).save(data_folder / "one.png")
    out = tmp_path / "out"
    names = ("data-mnist", "data-cifar10", "data-mvtec", "ygan-figure-9")
    pictures.main([*names, "--out", str(out)])
    drawn, cifar, mvtec, ygan = capsys.readouterr().out.splitlines()
    assert drawn == str(out / "data-mnist.png")
    assert cifar == "data-cifar10 waits for data: cifar10, see `minigan datasets`"  # nothing was downloaded
    assert mvtec.startswith("data-mvtec waits for data: expected the files of mvtec (transistor), got none")
    missing = "fashion_mnist and cifar10 and plantvillage"
    assert ygan == f"ygan-figure-9 waits for data: {missing}, see `minigan datasets`"
    assert files(out) == {"data-mnist.png"}
    # A column for each digit, from training images.
    pixels = np.asarray(Image.open(out / "data-mnist.png").convert("L")).astype(int)
    assert np.abs(pixels[34, 34::62] - (20 * np.arange(10) + 20)).max() <= 3


def test_draws_again_only_what_was_requested(data_folder, tmp_path, capsys, monkeypatch):
    calls = []

    def drawing():
        calls.append(1)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(pictures, "PICTURES", {"one": (drawing, ()), "two": (drawing, ())})
    out = ["--out", str(tmp_path)]
    for arguments, drawn in (([], 2), ([], 0), (["two"], 1), (["--again"], 2)):
        calls.clear()
        pictures.main([*arguments, *out])
        assert len(calls) == drawn == len(capsys.readouterr().out.splitlines())


def test_the_same_data_give_the_same_file(data_folder, tmp_path):
    make_mnist(data_folder)
    first, second = (pictures.draw("data-mnist", tmp_path / part).read_bytes() for part in "ab")
    assert first == second


def test_unknown_name_gives_one_sentence(capsys):
    with pytest.raises(SystemExit) as stopped:
        pictures.main(["data-mnits"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "expected the name of a picture, got 'data-mnits'; choose from data-mnist, " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("where", ["drawing", "os.replace"])
def test_leaves_nothing_half_written(where, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    drawing = fail if where == "drawing" else lambda: Image.new("RGB", (8, 8))
    monkeypatch.setitem(pictures.PICTURES, "data-mnist", (drawing, ()))
    if where == "os.replace":
        monkeypatch.setattr(pictures.os, "replace", fail)
    (tmp_path / "data-mnist.png").write_bytes(b"as before")
    with pytest.raises(OSError, match="no space left"):
        pictures.draw("data-mnist", tmp_path)
    assert files(tmp_path) == {"data-mnist.png"}
    assert (tmp_path / "data-mnist.png").read_bytes() == b"as before"


def test_a_picture_becomes_small_however_many_colours_it_has(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    monkeypatch.setattr(pictures, "LARGEST", 3600)
    assert len(pictures.small_png(Image.fromarray(noise))) <= 3600  # 4096 pixels in 48 colours


# Coloured MNIST is in no table: its network is trained for the picture alone.
@pytest.mark.parametrize("name", [name for name in OF_NETWORKS if name != "ygan-figure-6-colors"])
def test_cells_of_the_networks_are_declared(name, monkeypatch):
    wanted = []

    def train(cell: Cell):
        wanted.append(cell)
        raise InterruptedError

    monkeypatch.setattr(experiments, "train", train)
    monkeypatch.setattr(pictures, "filmed", train)
    pictures.trained.cache_clear()
    with pytest.raises(InterruptedError):
        pictures.PICTURES[name][0]()
    (cell,) = wanted
    budget = "long" if name.startswith("simultaneous-encoder") else "quick"
    assert (cell.seed, cell.budget) == (0, budget)
    assert cell.dataset in pictures.PICTURES[name][1]


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_networks_are_drawn(name, tiny_networks, tmp_path):
    with Image.open(pictures.draw(name, tmp_path)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 150
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_filming_an_encoder_does_not_change_it(tiny_networks):
    cell = pictures.cell_of("simultaneous-encoder-2", "SimultaneousEncoder", "automobile", budget="long")
    found, plain = pictures.encoder_of_cars(), experiments.train(cell)
    np.testing.assert_array_equal(found.split.test, plain.split.test)
    scores = plain.detector.anomaly_score(found.split.test)
    np.testing.assert_array_equal(found.detector.anomaly_score(found.split.test), scores)
    last = max(found.detector.film_)
    assert last == max(found.detector.aurocs_) == found.detector.shown
    followed = found.detector.watched
    scores = plain.detector.set_params(scored_by="residual").anomaly_score(followed[0])
    assert found.detector.aurocs_[last]["L_n"] == pytest.approx(metrics.auroc(followed[1], scores), abs=1e-3)
    film = plain.detector.sample(16)
    np.testing.assert_allclose(found.detector.film_[last].numpy(), film, atol=1e-5)


def test_the_worst_errors_come_first(tiny_networks, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "tiles", lambda images, size=64: shown.append(images) or images)
    pictures.ygan_figures_10_11()
    found = pictures.trained("ygan-1", "YGAN", "0")
    scores, labels = found.detector.anomaly_score(found.split.test), found.split.test_labels
    worst = np.r_[np.argmax(np.where(labels == 0, scores, -1)), np.argmin(np.where(labels == 1, scores, 2))]
    np.testing.assert_array_equal(shown[0][[0, 8]], found.split.test[worst])


def test_heat_maps_are_between_0_and_1_and_do_not_depend_on_the_batch(tiny_networks):
    found = pictures.trained("ygan-1", "YGAN", "0")
    heat = pictures.grad_cam(found.detector, found.split.test[:5])
    assert heat.shape == (5, 16, 16)
    assert heat.min() >= 0
    assert heat.max() == 1
    np.testing.assert_allclose(pictures.grad_cam(found.detector, found.split.test[:1])[0], heat[0], atol=1e-5)


def test_tiles_show_bytes_and_floats_alike():
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) * 17
    large = pictures.tiles(pixels, 8)
    assert large.shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(large[0, ::2, 1::2, 2], pixels[0])
    np.testing.assert_array_equal(pictures.tiles(pixels[:, None] / np.float32(127.5) - 1, 8), large)


def test_pictures_stand_beside_and_below_each_other():
    red, blue = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (10, 40), "blue")
    row = pictures.beside(red, blue, gap=5)
    assert row.size == (45, 40)
    assert [row.getpixel(at) for at in ((29, 19), (31, 0), (44, 39))] == [
        (255, 0, 0),
        (255,) * 3,
        (0, 0, 255),
    ]
    column = pictures.below({"first": red, "second": blue})
    colors = {color for _, color in column.getcolors(10_000)}
    assert column.width == 30
    assert column.height > 60
    assert {(255, 0, 0), (0, 0, 255)} <= colors
    assert column.getpixel((9, column.height - 1)) == (0, 0, 255)


def test_clusters_are_drawn_beside_what_the_paper_prints(monkeypatch, tiny_networks, tmp_path, capsys):
    def by_ink(x, features, n_clusters, architecture):  # two clusters, at once
        return (x.float().flatten(1).mean(1) > x.float().mean()).long().numpy()

    monkeypatch.setattr(pictures, "weak_labels", by_ink)
    pictures.draw("data-clusters", tmp_path)
    assert files(tmp_path) == {"data-clusters.png"}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 16 and all(", 2 clusters, " in line for line in lines)
