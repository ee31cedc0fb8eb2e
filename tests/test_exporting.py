"""`minigan export`: scores by onnxruntime are those of the detector, with and without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from helpers import add_tiny_backbone, points, raises_sentence, write_digits, zeros
from PIL import Image
from sklearn.exceptions import NotFittedError
from test_contract import METHODS, Autoencoder, fit, others
from torch import nn

import minigan
from minigan import PCA, ALGANFeature, GANomaly, exporting, onnx_graphs, onnx_networks, registry, wording
from minigan.cli import main
from minigan.exporting import to_onnx
from minigan.onnx_model import OnnxDetector
from minigan.onnx_networks import SearchScore

#: What reads images and writes tables; all else that minigan needs is not needed to score an ONNX file.
LIGHT = ("numpy", "onnxruntime", "pandas", "PIL", "scipy", "tqdm")


@pytest.fixture(autouse=True)
def all_methods_are_known(monkeypatch):
    monkeypatch.setitem(registry.METHODS, Autoencoder.__name__, "_template")
    add_tiny_backbone(monkeypatch)


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """The working directory: thirty fours to learn from, ten fours and ten ones to score, and a detector."""
    write_digits(tmp_path, 16, good=(4, 0, 30), new=(4, 30, 40), new_odd=(1, 0, 10))
    monkeypatch.chdir(tmp_path)
    arguments = ["fit", "good", "--method", "PCA", "--image-size", "16", "--out", "parts.safetensors"]
    assert main(arguments) == 0
    return tmp_path


def test_which_files_contain_the_images_is_said_and_true(parts, tmp_path, capsys):
    """The size of an ONNX file grows with the number of images where they are in it."""
    main(["fit", "good", "--method", "PCA", "--image-size", "16", "--out", "parts.safetensors"])
    said = capsys.readouterr().out
    assert (
        "the file contains the 27 images that were learned from; `minigan export` writes one without" in said
    )
    few, many = zeros(20), zeros(40)
    for name in ("PCA", "Brightness", "NearestNeighbors"):
        method = registry.get(name)
        settings = {"n_components": 3} if name == "PCA" else {}
        sizes = []
        for images in (few, many):
            to_onnx(method(**settings).fit(images), tmp_path / "model.onnx")
            sizes.append((tmp_path / "model.onnx").stat().st_size)
        assert (sizes[1] > sizes[0] + 10 * few[0].nbytes) == method.exports_items, name
    detector = GANomaly(width=4, epochs=1, progress=False, device="cpu").fit(zeros(8))
    assert wording.what_it_contains(detector) == ""


# ---------------------------------------------------------------------- the same scores


@pytest.mark.parametrize(
    "name", [name for name in METHODS if name != "ALGANFeature"]
)  # it takes vectors there
def test_onnxruntime_gives_the_scores_of_every_method(name, tmp_path):
    detector = fit(name)
    assert to_onnx(detector, tmp_path / "model.onnx") <= 1e-4
    model = OnnxDetector(tmp_path / "model.onnx")
    images = others(name)
    expected = detector.anomaly_score(images)
    near = {"rtol": 1e-4, "atol": 1e-4 * expected.std()}
    for n in (1, 7, len(images)):
        found = model.anomaly_score(images[:n, None])
        assert found.shape == (n,) and found.dtype == np.float64
        np.testing.assert_allclose(found, expected[:n], **near)
    assert (model.method, model.image_shape_) == (name, detector.image_shape_)
    assert (model.threshold_, model.normal_flagged_) == (detector.threshold_, detector.normal_flagged_)
    np.testing.assert_array_equal(model.calibration_scores_, detector.calibration_scores_)


def test_patches_and_features_in_the_sizes_of_photographs(tmp_path):
    """Images are enlarged to the backbone's input, grey ones become RGB, features are standardised."""
    for name, settings in (
        ("PatchCore", {"input_size": 24, "normalise": True, "coreset": 0.1, "n_reweighted": 3}),
        ("PatchCore", {"input_size": 12, "n_reweighted": 0}),
        ("PaDiM", {"input_size": 24, "n_features": 9, "sigma": 2.0}),
        ("DN2", {"input_size": 12, "n_neighbors": 3}),
    ):
        detector = fit(name, **settings)
        assert to_onnx(detector, tmp_path / "model.onnx") <= 1e-4, (name, settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("GeoTrans", {"scored_by": "simple"}),
        ("GPND", {"scored_by": "novelty", "jacobian": False}),
        ("GPND", {"scored_by": "residual"}),
        ("ADeGAN", {"scored_by": "error_over_ink"}),
        ("YGAN", {"scored_by": "entropy"}),
        ("YGAN", {"scored_by": "prototype"}),
        ("AnoGAN", {"scored_by": "features", "lambda_d": 0.7, "search_steps": 7}),
        ("GPND", {"scored_by": "parallel"}),
    ],
)
def test_other_scores_of_the_same_network(name, settings, tmp_path):
    assert to_onnx(fit(name, **settings), tmp_path / "model.onnx") <= 1e-4


def layers(*, transposed: bool) -> nn.Sequential:
    """Layers of a generator or of a discriminator, in evaluation mode, with used batch norms."""
    if transposed:
        made = nn.Sequential(
            nn.ConvTranspose2d(5, 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(4, 3, 4, 2, 1),
            nn.Tanh(),
        )
    else:
        made = nn.Sequential(
            nn.Conv2d(3, 4, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4, 5, 4, 2, 1),
            nn.BatchNorm2d(5),
            nn.LeakyReLU(0.2, inplace=True),
        )
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                tensor.uniform_(0.5, 2)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("transposed", [True, False])
def test_derivatives_by_the_chain_rule_are_those_of_autograd(transposed):
    torch.manual_seed(0)
    network = layers(transposed=transposed)
    x = torch.randn(2, 5, 1, 1) if transposed else torch.randn(2, 3, 8, 8)
    outputs = onnx_networks.outputs_of(network, x)
    torch.testing.assert_close(outputs[-1], network(x))
    gradient = torch.randn_like(outputs[-1])
    found = onnx_networks.pulled_back(network, outputs, gradient)
    torch.testing.assert_close(found, torch.autograd.functional.vjp(network, x, gradient)[1])
    directions = torch.randn(2, 6, *x.shape[1:])
    moved = onnx_networks.pushed_forward(network, outputs, directions)
    for i in range(6):
        torch.testing.assert_close(
            moved[:, i], torch.autograd.functional.jvp(network, x, directions[:, i])[1]
        )


def test_a_layer_without_a_known_derivative_is_named():
    detector = fit("AnoGAN", search_steps=2)
    detector.G[-1] = torch.nn.Softsign()
    with pytest.raises(ValueError, match=r"expected convolutions.*got the layer Softsign; add it to"):
        onnx_networks.SearchScore(detector)


def test_a_step_of_the_search_is_one_of_adam():
    detector = fit("AnoGAN", search_steps=4, lambda_d=0.3)
    for part in detector.G.parameters():
        part.data.mul_(5)  # images that follow z
    x = torch.from_numpy(others("AnoGAN")[:3, None]).float() / 127.5 - 1
    f, z = detector.search(x)
    score = onnx_networks.SearchScore(detector)
    found = score.search(x)
    torch.testing.assert_close(found[0], f)
    torch.testing.assert_close(found[1], z)
    assert (z - detector.G.z_1).abs().min() > 0


def test_features_of_rotated_images(tmp_path):
    detector = ALGANFeature(
        backbone="efficientnet_lite0",
        crop_from=256,
        rotations_fit=1,
        rotations_score=5,
        epochs=1,
        batch_size=8,
        width=8,
        device="cpu",
        progress=False,
    ).fit(zeros(12, channels=3))
    assert to_onnx(detector, tmp_path / "model.onnx") <= 1e-4


def test_a_long_search_follows_every_rounding(tmp_path):
    """So its scores may differ by more than those of others, but not by more than is said."""
    detector = fit("AnoGAN", search_steps=200)
    assert to_onnx(detector, tmp_path / "model.onnx") <= SearchScore.tolerance
    images = others("AnoGAN")
    found = OnnxDetector(tmp_path / "model.onnx").anomaly_score(images[:, None])
    assert np.corrcoef(found, detector.anomaly_score(images))[0, 1] > 0.999


@pytest.mark.parametrize("settings", [{"max_samples": 1}, {"max_samples": 2}, {"n_estimators": 3}])
def test_small_forests(settings, tmp_path):
    assert to_onnx(fit("IsolationForest", **settings), tmp_path / "model.onnx") <= 1e-12


def test_colour(tmp_path):
    x = zeros(30, channels=3)
    for detector in (GANomaly(epochs=1, width=2, progress=False), PCA()):
        assert to_onnx(detector.fit(x), tmp_path / "model.onnx") <= 1e-4
        model = OnnxDetector(tmp_path / "model.onnx")
        assert model.image_shape_ == (3, 16, 16)
        expected = detector.anomaly_score(x[:3])
        np.testing.assert_allclose(model.anomaly_score(x[:3].transpose(0, 3, 1, 2)), expected, rtol=1e-4)


# ---------------------------------------------------------------------- the commands


def test_export_and_score_as_people_type_them(parts, capsys):
    capsys.readouterr()
    assert main(["export", "parts.safetensors", "--out", "parts.onnx"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "PCA exported as parts.onnx: `minigan score parts.onnx FOLDER` uses it, without torch"
    assert said[1].startswith("on 5 made-up images, its scores differ from PyTorch's by ")
    printed = []
    for model in ("parts.safetensors", "parts.onnx"):
        assert main(["score", model, "new", "--out", "scores.csv"]) == 0
        printed.append((pd.read_csv("scores.csv"), capsys.readouterr()))
    (table, said), (other, told) = printed
    pd.testing.assert_frame_equal(other, table, rtol=1e-6)
    assert told.out == said.out  # how many are flagged, and how sure that is
    assert told.err == said.err
    assert main(["score", "parts.onnx", "good"]) == 0
    assert "30 of 30 images are among those that the detector learned from" in capsys.readouterr().err


def test_scoring_needs_neither_torch_nor_scikit_learn(parts):
    """In a process in which nothing but a few light packages can be imported."""
    assert main(["export", "parts.safetensors", "--out", "parts.onnx"]) == 0
    shutil.copytree("new", "sorted/odd")
    Path("sorted/good").mkdir()
    for path in Path("good").iterdir():  # other pixels than those learned from
        Image.open(path).point(lambda level: max(level, 1)).save(f"sorted/good/{path.name}")
    assert main(["score", "parts.safetensors", "sorted", "--out", "expected.csv"]) == 0
    code = f"""
import importlib.metadata, sys
listed = importlib.metadata.packages_distributions()
class Missing:
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        if top in listed and top not in {("minigan", "dateutil", "six", "pytz", *LIGHT)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing)
from minigan.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""
    command = [sys.executable, "-c", code, "score"]
    done = subprocess.run(
        [*command, "parts.onnx", "sorted", "--out", "scores.csv"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "AUROC" in done.stdout  # of a sorted folder
    expected, found = pd.read_csv("expected.csv"), pd.read_csv("scores.csv")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    done = subprocess.run([*command, "parts.safetensors", "new"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("minigan: expected the package ") and done.stderr.count("\n") == 1


def test_without_onnxruntime(parts, capsys, monkeypatch):
    assert main(["export", "parts.safetensors", "--out", "parts.onnx"]) == 0
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    before = Path("parts.onnx").read_bytes()
    capsys.readouterr()
    assert main(["export", "parts.safetensors", "--out", "parts.onnx"]) == 0
    assert "were not compared with PyTorch's: pip install onnxruntime" in capsys.readouterr().out
    assert Path("parts.onnx").read_bytes() == before
    assert main(["score", "parts.onnx", "new"]) == 2
    said = capsys.readouterr().err
    assert "expected onnxruntime to score with 'parts.onnx'" in said and "pip install onnxruntime" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "parts.safetensors", "--out", "parts.bin"], "expected --out to end in .onnx"),
        (["export", "good/00.png", "--out", "parts.onnx"], "expected a complete safetensors file"),
        (
            ["export", "parts.safetensors", "--out", "nowhere/parts.onnx"],
            "which does not exist; make it first",
        ),
        (["report", "copy.onnx", "new", "--out", "report.html"], "'copy.onnx', which can only score"),
        (["threshold", "copy.onnx", "new"], "'copy.onnx', which can only score"),
        (["score", "copy.onnx", "new", "--heatmaps", "maps"], "which has none; leave --heatmaps away"),
        (["score", "copy.onnx"], "expected a model and the images that it is to score"),
        (["score", "no.onnx", "new"], "expected an ONNX model, got 'no.onnx', which is not a file"),
        (["score", "short.onnx", "new"], "expected a complete ONNX model, got 'short.onnx'"),
        (["score", "photo.onnx", "new"], "expected a complete ONNX model, got 'photo.onnx'"),
    ],
)
def test_mistakes_are_answered_with_one_sentence(parts, capsys, arguments, words):
    to_onnx(minigan.load("parts.safetensors"), "copy.onnx")
    Path("short.onnx").write_bytes(Path("copy.onnx").read_bytes()[:3000])
    Path("photo.onnx").write_bytes(Path("good/00.png").read_bytes())
    before = sorted(parts.rglob("*"))
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.startswith("minigan: expected ") and said.err.count("\n") == 1
    assert said.out == "" and sorted(parts.rglob("*")) == before


# ---------------------------------------------------------------------- what cannot be exported


def test_detectors_that_a_folder_of_images_does_not_suit(tmp_path):
    path, x = tmp_path / "model.onnx", zeros(30)
    with pytest.raises(NotFittedError):
        to_onnx(PCA(), path)
    with raises_sentence(ValueError, "expected a detector of square images, got one of the shape (2,)"):
        to_onnx(PCA().fit(points(30)), path)
    with raises_sentence(ValueError, "expected a detector of square images", "(1, 16, 12)"):
        to_onnx(PCA().fit(x[:, :, :12]), path)
    with raises_sentence(
        ValueError, "expected a detector with a threshold, got a PCA without one", "calibrate"
    ):
        to_onnx(PCA(holdout=0).fit(x), path)
    with (
        raises_sentence(ValueError, "floats that were never below 0", "uint8"),
        pytest.warns(UserWarning, match="none of these values is below 0"),
    ):
        to_onnx(PCA().fit(x / 255.0), path)
    assert list(tmp_path.iterdir()) == []


def test_a_detector_of_floats_takes_bytes(tmp_path):
    x = zeros(30)
    detector = PCA().fit(x / 127.5 - 1)
    to_onnx(detector, tmp_path / "model.onnx")
    expected = detector.anomaly_score(x)
    np.testing.assert_allclose(
        OnnxDetector(tmp_path / "model.onnx").anomaly_score(x[:, None]), expected, rtol=1e-4
    )


def test_a_graph_with_other_scores_never_takes_the_place_of_a_good_file(tmp_path, monkeypatch):
    path, detector = tmp_path / "model.onnx", PCA().fit(zeros(30))
    to_onnx(detector, path)
    before = path.read_bytes()

    class Wrong(nn.Module):
        def forward(self, images):
            return 1.001 * right(images)

    right = onnx_graphs.graph_of(detector)
    monkeypatch.setattr(exporting, "graph_of", lambda detector: Wrong())
    with raises_sentence(ValueError, "expected the exported PCA to give PyTorch's scores", "report this"):
        to_onnx(detector, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_detector_stays_as_it_was(tmp_path):
    detector = fit("ALGAN")
    state = {name: value.clone() for name, value in detector._state().items()}
    to_onnx(detector, tmp_path / "model.onnx")
    assert all(torch.equal(value, state[name]) for name, value in detector._state().items())
    assert all(p.requires_grad for p in detector.D.parameters())


# ---------------------------------------------------------------------- files that somebody changed


def model_with(path: Path, header: object) -> Path:
    """An ONNX file with this metadata; None: without any."""
    detector = PCA().fit(zeros(30))
    model = exporting._traced(onnx_graphs.graph_of(detector), zeros(2)[:, None], json.dumps(header))
    if header is None:
        parsed = onnx.load_model_from_string(model)
        onnx.helper.set_model_props(parsed, {})
        model = parsed.SerializeToString()
    path.write_bytes(model)
    return path


def good_header(path: Path) -> dict:
    to_onnx(PCA().fit(zeros(30)), path)
    text = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert set(text) == {"minigan"}
    return json.loads(text["minigan"])


def test_the_metadata_says_how_images_become_scores(tmp_path):
    header = good_header(tmp_path / "model.onnx")
    assert header["class"] == "PCA" and header["minigan"] == minigan.__version__ and header["format"] == 1
    assert header["image_shape"] == [1, 16, 16] and "uint8" in header["input"]
    assert "squeezed" in header["resize"] and "above the threshold is anomalous" in header["output"]
    assert header["parameters"] == PCA().get_params() and "history" not in header


def test_operations_that_onnx_lacks_are_named(tmp_path, monkeypatch):
    class Odd(nn.Module):
        def forward(self, images):
            return images.float().flatten(1).cumprod(1).sum(1)

    monkeypatch.setattr(exporting, "graph_of", lambda detector: Odd())
    with raises_sentence(
        ValueError, "expected a score of operations that ONNX has", "cumprod", "saved detector"
    ):
        to_onnx(PCA().fit(zeros(30)), tmp_path / "model.onnx")


def test_without_the_package_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with raises_sentence(ValueError, "expected the package onnx", "pip install 'minigan[onnx]'"):
        to_onnx(PCA().fit(zeros(30)), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (None, "which something else wrote"),
        ([], "which something else wrote"),
        ({"format": 2}, "expected metadata of version 1, got version 2"),
        ({"threshold": None}, "with all that scoring needs"),
        ({"threshold": float("nan")}, "with all that scoring needs"),
        ({"n_calibrated": 0}, "with all that scoring needs"),
        ({"normal_flagged": [0.1]}, "with all that scoring needs"),
        ({"calibration_scores": ["a"]}, "with all that scoring needs"),
        ({"image_shape": [1, 8, 8]}, "with all that scoring needs"),
        ({"image_shape": [256]}, "with all that scoring needs"),
        ({"image_shape": 7}, "with all that scoring needs"),
        ({"at_once": -1}, "with all that scoring needs"),
        ({"notes": []}, "with all that scoring needs"),
        ({"class": 7}, "with all that scoring needs"),
    ],
)
def test_metadata_that_do_not_fit(tmp_path, changed, words):
    header = good_header(tmp_path / "good.onnx") | changed if isinstance(changed, dict) else changed
    with raises_sentence(ValueError, "expected ", words):
        OnnxDetector(model_with(tmp_path / "model.onnx", header))


def test_long_metadata_come_back(tmp_path):
    detector = PCA().fit(zeros(30))
    for length in (1, 100, 127, 128, 20_000, 3_000_000):
        detector.notes_ = {"text": "é" * length}
        to_onnx(detector, tmp_path / "model.onnx")
        assert OnnxDetector(tmp_path / "model.onnx").notes_ == detector.notes_


def test_images_that_do_not_fit_an_exported_detector(tmp_path):
    good_header(tmp_path / "model.onnx")
    model, x = OnnxDetector(tmp_path / "model.onnx"), zeros(3)[:, None]
    for images in (x[:, :, :8], x / 255.0, x[0], x[:0], x.repeat(3, axis=1)):
        with raises_sentence(ValueError, "expected uint8 images of shape (n, 1, 16, 16)", "read_images"):
            model.anomaly_score(images)


def test_scores_that_are_no_numbers(tmp_path):
    class Nothing(nn.Module):
        def forward(self, images):
            return images.float().flatten(1).sum(1) * 0 + float("nan")

    header = good_header(tmp_path / "model.onnx")
    model = exporting._traced(Nothing(), zeros(2)[:, None], json.dumps(header))
    (tmp_path / "model.onnx").write_bytes(model)
    with raises_sentence(ValueError, "expected a finite score for each image"):
        OnnxDetector(tmp_path / "model.onnx").anomaly_score(zeros(3)[:, None])


def test_no_mutated_file_does_anything_but_score_or_say_so(tmp_path):
    """Sixty files with bytes changed, by fixed seeds: each one works, or is refused in a sentence."""
    good_header(tmp_path / "model.onnx")
    content, rng = bytearray((tmp_path / "model.onnx").read_bytes()), np.random.default_rng(0)
    works = 0
    for _ in range(60):
        mutant = bytearray(content)
        for at in rng.integers(0, len(mutant), 3):
            mutant[at] = rng.integers(256)
        if rng.random() < 0.3:
            del mutant[rng.integers(len(mutant)) :]
        (tmp_path / "mutant.onnx").write_bytes(mutant)
        try:
            scores = OnnxDetector(tmp_path / "mutant.onnx").anomaly_score(zeros(3)[:, None])
            works += np.isfinite(scores).all()
        except ValueError as error:
            assert str(error).startswith("expected ")
    assert 0 < works < 60
