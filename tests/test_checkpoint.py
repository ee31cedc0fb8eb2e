"""Checkpoints: what comes back, what is said of files that cannot be loaded, and files of older programs.

The files in `tests/checkpoints/` were written by the program of commit c002b8b, before its modules moved into
sub-packages: `minigan.get(name)(**settings).fit(images).save(path)`, with the settings in the header of each
file, on 40 zeros of `data.load("digits", size=16)` (PCA on 12; methods that learn from sub-classes on 20 ones
and 20 twos; ALGANFeature on 40 standard normal vectors). `scores.json` holds the scores that this program
gave after `minigan.load` for the inputs of the test below.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import digits, points, raises_sentence
from safetensors.torch import save_file

import minigan
from minigan import ALGAN, PCA, ALGANFeature, checkpoint

NAMES = ("ALGANFeature", "PCA")
OLD = Path(__file__).parent / "checkpoints"
OLD_SCORES = json.loads((OLD / "scores.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A saved detector with networks, and one without."""
    folder = tmp_path_factory.mktemp("checkpoints")
    detectors = (ALGANFeature(epochs=2, width=8, progress=False), PCA())
    for detector in detectors:
        detector.fit(points(60)).save(folder / f"{type(detector).__name__}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in NAMES}


def changed(files, name: str, path: Path, tensors: dict | None = None, without: str = "", **header) -> Path:
    """A copy of a checkpoint with some of its header or tensors replaced."""
    old_header, old_tensors = checkpoint.read(files[name])
    new = {k: v for k, v in (old_header | header).items() if k != without}
    checkpoint.write(path, new, old_tensors if tensors is None else old_tensors | tensors)
    return path


# ---------------------------------------------------------------------- writing


def test_header_and_tensors_come_back(tmp_path):
    base = torch.arange(6.0).view(2, 3)
    tensors = {
        "bytes": torch.arange(5, dtype=torch.uint8),
        "transposed": base.T,
        "shared": base,
        "shared too": base[:1],
        "whole": torch.tensor([2**40]),
        "empty": torch.zeros(0, 3),
    }
    header = {"class": "X", "number": 0.1 + 0.2, "none": None, "text": "ü", "nan": float("nan")}
    checkpoint.write(tmp_path / "a", header, tensors)
    found_header, found = checkpoint.read(str(tmp_path / "a"))
    assert found_header["number"] == 0.1 + 0.2 and found_header["text"] == "ü"
    assert found_header["none"] is None and np.isnan(found_header["nan"])
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())


def test_paths_and_numpy_numbers_in_the_header(tmp_path):
    header = {"class": "X", "path": Path("a") / "b", "int": np.int64(3), "float": np.float32(0.5)}
    checkpoint.write(tmp_path / "a", header, {})
    found, _ = checkpoint.read(tmp_path / "a")
    assert (found["path"], found["int"], found["float"]) == (str(Path("a") / "b"), 3, 0.5)


def test_detectors_with_such_parameters_can_be_saved(tmp_path):
    detector = ALGANFeature(
        epochs=np.int64(1), seed=np.int64(3), width=8, progress=False, weights=Path("w.pt")
    )
    detector.fit(points(40)).save(tmp_path / "a")
    loaded = minigan.load(tmp_path / "a")
    assert (loaded.epochs, loaded.seed, loaded.weights) == (1, 3, "w.pt")
    np.testing.assert_array_equal(loaded.anomaly_score(points(5)), detector.anomaly_score(points(5)))


def test_tuples_stay_tuples(files):
    assert minigan.load(files["ALGANFeature"]).betas == (0.0, 0.9)


@pytest.mark.parametrize("failing", ["save", "write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch, failing):
    path = tmp_path / "a"
    checkpoint.write(path, {"class": "X"}, {"t": torch.ones(1)})
    before = path.read_bytes()

    def killed(*args):
        if failing == "write_bytes":
            args[0].open("wb").close()
        raise OSError("disk full")

    monkeypatch.setattr({"save": checkpoint, "write_bytes": Path, "replace": os}[failing], failing, killed)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.write(path, {"class": "X"}, {"t": torch.zeros(1)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that Linux has")
@pytest.mark.parametrize("name", ["x" * 255, "\udcff.safetensors", "ü", "a\nb", ".a"])
def test_any_name_can_be_saved_and_loaded(tmp_path, name):
    detector = PCA().fit(points(30))
    detector.save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(
        minigan.load(tmp_path / name).anomaly_score(points(5)), detector.anomaly_score(points(5))
    )


def test_a_checkpoint_has_the_permissions_of_any_other_file(tmp_path):
    (tmp_path / "other").touch()
    checkpoint.write(tmp_path / "a", {"class": "X"}, {})
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(sys.platform != "linux", reason="needs devices that Linux has")
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"])
def test_a_device_is_not_replaced(device):
    with raises_sentence(OSError, "expected a file to save into", device, "a device or a pipe"):
        checkpoint.write(device, {"class": "X"}, {})
    assert Path(device).is_char_device()


def test_a_checkpoint_replaces_an_older_one(tmp_path):
    for value in (1.0, 2.0):
        checkpoint.write(tmp_path / "a", {"class": "X"}, {"t": torch.tensor([value])})
    assert checkpoint.read(tmp_path / "a")[1]["t"].item() == 2


def test_a_missing_folder_is_named_before_writing(tmp_path):
    with raises_sentence(FileNotFoundError, "expected a folder", "nowhere", "make it first"):
        checkpoint.write(tmp_path / "nowhere" / "a", {"class": "X"}, {})


# ---------------------------------------------------------------------- what older programs wrote


@pytest.mark.parametrize("name", OLD_SCORES)
def test_an_old_checkpoint_gives_the_scores_that_it_gave(name):
    detector = minigan.load(OLD / f"{name}.safetensors", device="cpu")
    assert type(detector) is minigan.get(name)
    images = digits()[0][-6:]
    if name == "ALGANFeature":
        images = np.linspace(-2, 2, 18).reshape(6, 3).astype(np.float32)
    assert detector.anomaly_score(images).tolist() == OLD_SCORES[name]
    assert np.isfinite(detector.threshold_) and detector.offset_ == -detector.threshold_


def test_every_old_checkpoint_has_its_scores():
    assert {path.stem for path in OLD.glob("*.safetensors")} == set(OLD_SCORES)


# ---------------------------------------------------------------------- reading what is no checkpoint


def test_a_missing_checkpoint(tmp_path):
    for load in (minigan.load, ALGAN.load, checkpoint.read):
        with raises_sentence(FileNotFoundError, "expected a checkpoint", "nowhere", "not a file"):
            load(tmp_path / "nowhere")
    with raises_sentence(FileNotFoundError, "expected a checkpoint", "not a file"):
        minigan.load(tmp_path)


@pytest.mark.parametrize("fraction", [0, 0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_checkpoint(files, tmp_path, name, fraction):
    whole = files[name].read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(fraction * len(whole))])
    with raises_sentence(ValueError, "expected a complete safetensors file", "copy it again", "truncated"):
        minigan.load(tmp_path / "a")


def test_a_file_of_another_kind(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a")
    with raises_sentence(ValueError, "expected a complete safetensors file"):
        minigan.load(tmp_path / "a")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"other": "1"},
        {"minigan": "{no json"},
        {"minigan": "[1]"},
        {"minigan": "{}"},
        {"minigan": '{"class": [1]}'},
    ],
)
def test_a_safetensors_file_of_somebody_else(tmp_path, metadata):
    save_file({"a": torch.ones(2)}, tmp_path / "a", metadata)
    with raises_sentence(ValueError, "expected a checkpoint of minigan", "which something else wrote"):
        minigan.load(tmp_path / "a")


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_an_unknown_version(files, tmp_path, version):
    path = changed(files, "PCA", tmp_path / "a", format=version)
    with raises_sentence(ValueError, "expected checkpoint version 1", f"got version {version!r}", "install"):
        minigan.load(path)


# ---------------------------------------------------------------------- reading what does not fit


def test_the_wrong_class(files, tmp_path):
    with raises_sentence(ValueError, "a checkpoint of ALGAN", "which PCA saved", "minigan.load"):
        ALGAN.load(files["PCA"])
    with raises_sentence(ValueError, "got 'BrandNewGAN'", "the name of a method"):
        minigan.load(changed(files, "PCA", tmp_path / "a", **{"class": "BrandNewGAN"}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"parameters": {"no_such_parameter": 1}}, ["no_such_parameter"]),
        ({"parameters": {"contamination": 7}}, ["contamination", "7"]),
        ({"parameters": []}, []),
        ({"image_shape": 3}, []),
        ({"image_shape": []}, []),
        ({"image_shape": [3]}, []),
        ({"image_shape": ["two"]}, []),
        ({"history": "lost"}, []),
        ({"history": {"epoch": [1, 2], "loss_D": [1.0]}}, []),
        ({"history": {"loss": [1.0]}}, ["epoch"]),
        ({"threshold": "high"}, ["high"]),
        ({"without": "parameters"}, ["parameters"]),
        ({"without": "threshold"}, ["threshold"]),
        ({"without": "history"}, ["history"]),
    ],
)
def test_a_header_that_was_tampered_with(files, tmp_path, name, header, words):
    path = changed(files, name, tmp_path / "a", **header)
    with raises_sentence(ValueError, f"expected a checkpoint of a working {name}", *words):
        minigan.load(path)


@pytest.mark.parametrize("case", ["shape", "missing", "extra", "stray", "other width"])
def test_tensors_that_do_not_fit_the_networks(files, tmp_path, case):
    header, tensors = checkpoint.read(files["ALGANFeature"])
    if case == "shape":
        tensors["G.0.weight"] = torch.zeros(2, 2)
    elif case == "missing":
        del tensors["D.0.bias"]
    elif case == "extra":
        tensors["G.9.weight"] = torch.zeros(1)
    elif case == "stray":
        tensors["stray"] = torch.zeros(1)
    else:
        header["parameters"]["width"] = 16
    checkpoint.write(tmp_path / "a", header, tensors)
    with raises_sentence(ValueError, "a checkpoint of a working ALGANFeature", "tensors", "networks"):
        minigan.load(tmp_path / "a")


def test_data_that_does_not_fit_the_shape(files, tmp_path):
    with raises_sentence(ValueError, "a checkpoint of a working PCA", "(2,)", "(5,)"):
        minigan.load(changed(files, "PCA", tmp_path / "a", tensors={"data": torch.zeros(4, 5)}))


def test_loading_executes_nothing(files, tmp_path):
    """A class name from the file is looked up in minigan's own table, never imported."""
    with raises_sentence(ValueError, "expected the name of a method, got 'os.system'"):
        minigan.load(changed(files, "PCA", tmp_path / "a", **{"class": "os.system"}))


def test_the_header_can_be_read_without_minigan(files):
    raw = files["ALGANFeature"].read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"]["minigan"])
    assert header["class"] == "ALGANFeature" and header["parameters"]["width"] == 8


def test_the_device_is_chosen_when_loading(files):
    assert minigan.load(files["ALGANFeature"], device="cpu").device_ == torch.device("cpu")
    with raises_sentence(ValueError, "'abacus'", "'cpu'"):
        minigan.load(files["ALGANFeature"], device="abacus")
    minigan.load(files["PCA"], device="abacus")  # has no networks, so no device


def test_loaded_weights_cannot_be_switched(files):
    with raises_sentence(
        ValueError, "expected weights out of none", "'best_validation'", "a checkpoint holds"
    ):
        minigan.load(files["ALGANFeature"]).use_weights("best_validation")


@pytest.mark.parametrize("metadata", [None, {}, {"other": "text"}, {"minigan": "[" * 10**5}])
def test_metadata_that_is_not_ours(tmp_path, metadata):
    header = json.dumps({"__metadata__": metadata}).encode()
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header)
    with raises_sentence(ValueError, "expected a checkpoint of minigan", "which something else wrote"):
        checkpoint.read(tmp_path / "a")
