"""Hyperparameters of the wrong kind, and malicious checkpoints, are answered with one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from helpers import points, zeros
from safetensors.torch import save_file

import minigan
from minigan import PCA, ALGANFeature, checkpoint, features, images
from minigan.models.classical import NearestNeighbors
from minigan.torch_state import pick_device

QUICK = {"epochs": 1, "width": 4, "progress": False, "device": "cpu"}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 2.5, "expected epochs to be a whole number, got 2.5"),
        ("epochs", "3", "expected epochs to be a whole number, got '3'"),
        ("epochs", None, "expected epochs to be a whole number, got None"),
        ("n_dis", True, "expected n_dis to be a whole number, got True"),
        ("sigma", float("inf"), "expected sigma to be a finite number, got inf"),
        ("lr_G", "fast", "expected lr_G to be a finite number, got 'fast'"),
        ("lr_D", -0.1, "expected lr_D to be at least 0, got -0.1"),
        ("contamination", "auto", "expected contamination to be a finite number, got 'auto'"),
        ("extra_channels", 1, "expected extra_channels to be True or False, got 1"),
        ("augment", "hflip", "expected augment to be a tuple, each item 'hflip', 'vflip' or 'rotate', got"),
        ("augment", ("spin",), "expected augment to be a tuple, each item 'hflip', 'vflip' or 'rotate', got"),
        ("buffer_batches", True, "expected buffer_batches to be a whole number or 'training set', got True"),
        ("betas", (0.9,), "expected betas to be a tuple of 2, each item a finite number, got (0.9,)"),
        ("betas", (0.0, 1.0), "expected betas to be two numbers from 0 to below 1, got (0.0, 1.0)"),
        ("max_width", 0, "expected max_width to be at least 1, got 0"),
        ("seed", -1, "expected seed to be at least 0, got -1"),
        ("seed", 2**32, "expected seed to be below 2**32, got 4294967296"),
        ("seed", "a", "expected seed to be a whole number, got 'a'"),
        ("image_size", True, "expected image_size to be a whole number or None, got True"),
        ("device", None, "expected device to be text or device, got None"),
        ("device", "abacus", "expected a device that torch can use here, got 'abacus'"),
    ],
)
def test_a_hyperparameter_of_the_wrong_kind(name, value, sentence):
    with pytest.raises(ValueError) as caught:
        minigan.ALGAN(**QUICK | {name: value}).fit(zeros(8))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("method", "name", "value", "sentence"),
    [
        ("SimultaneousEncoder", "width", "4", "expected width to be a whole number or None, got '4'"),
        ("SimultaneousEncoder", "width", True, "expected width to be a whole number or None, got True"),
        ("SimultaneousEncoder", "width", 2.5, "expected width to be a whole number or None, got 2.5"),
        ("SimultaneousEncoder", "width", 0, "expected width to be at least 1, got 0"),
        ("SimultaneousEncoder", "kimg", float("nan"), "expected kimg to be a finite number, got nan"),
        ("SimultaneousEncoder", "phase_kimg", -1, "expected phase_kimg to be positive, got -1"),
        ("SimultaneousEncoder", "lambda_n", 1.01, "expected lambda_n to lie in [0, 1], got 1.01"),
        ("SimultaneousEncoder", "leaky_code", 0.2, "expected leaky_code to be True or False, got 0.2"),
        ("ADeGAN", "width", None, "expected width to be a whole number, got None"),
        ("ADeGAN", "lambda_sl", float("inf"), "expected lambda_sl to be a finite number or None, got inf"),
        ("ADeGAN", "lambda_sl", float("nan"), "expected lambda_sl to be a finite number or None, got nan"),
        ("ADeGAN", "lambda_sl", -1.0, "expected lambda_sl to be at least 0, got -1.0"),
        ("ADeGAN", "collect_norms", 1, "expected collect_norms to be True or False, got 1"),
        ("ADeGAN", "n_patterns", 1, "expected n_patterns to be at least 2, got 1"),
    ],
)
def test_hyperparameters_of_single_methods(method, name, value, sentence):
    with pytest.raises(ValueError) as caught:
        minigan.get(method)(**{"epochs": 1, "progress": False} | {name: value}).fit(zeros(8))
    assert str(caught.value) == sentence


def test_a_width_of_numpy_is_a_width():
    detector = minigan.SimultaneousEncoder(width=np.int64(2), max_width=2, z_dim=2, kimg=100, phase_kimg=1)
    detector._check_parameters()
    detector._start((1, 16, 16))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("augment", ("hflip",), "expected no augment and no extra_channels.* for ALGANFeature, got augment"),
        ("extra_channels", True, "expected no augment and no extra_channels.* for ALGANFeature, got augment"),
        ("rotations_fit", 0, "expected rotations_fit to be at least 1, got 0"),
        ("rotations_score", 0, "expected rotations_score to be at least 1, got 0"),
        ("crop_from", 100, "expected crop_from to be at least 224, got 100"),
    ],
)
def test_what_the_feature_variant_has_no_use_for(name, value, words):
    with pytest.raises(ValueError, match=words):
        ALGANFeature(**QUICK | {name: value}).fit(points(8))


def test_the_papers_betas_may_be_typed_as_whole_numbers_and_in_a_list():
    scores = [
        ALGANFeature(**QUICK, betas=betas).fit(points(40)).anomaly_score(points(5))
        for betas in ((0.0, 0.9), [0, 0.9])
    ]
    np.testing.assert_array_equal(*scores)


def test_a_torch_device_is_a_device():
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


def test_losses_that_explode_at_once_point_to_no_epoch_0():
    with pytest.raises(FloatingPointError, match="in epoch 1; try a smaller learning rate$"):
        ALGANFeature(**QUICK, sigma=3e38, batch_norm="none").fit(points(20))


def test_a_loaded_detector_says_why_it_cannot_switch(tmp_path):
    ALGANFeature(**QUICK).fit(points(20)).save(tmp_path / "d")
    with pytest.raises(ValueError, match="a checkpoint holds only the weights that were in use$"):
        minigan.load(tmp_path / "d").use_weights("last")


# ---------------------------------------------------------------------- labelled anomalies


@dataclass(kw_only=True, eq=False, repr=False)
class WithAnomalies(NearestNeighbors):
    """Takes labels of anomalies."""

    label_meaning: ClassVar = "anomalies"


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [1, 1, 1, 1], [-1, 1, 0, 0]])
def test_labels_of_anomalies_are_0_or_1_with_some_0(labels):
    with pytest.raises(ValueError, match=r"expected labels 0 \(normal\) and 1 \(anomalous\), some"):
        WithAnomalies().fit(points(4), labels)


@pytest.mark.parametrize(("n_normal", "n_held"), [(40, 6), (7, 5), (3, 1), (2, 0), (1, 0)])
def test_only_normal_images_are_held_out_and_two_of_them_stay(n_normal, n_held):
    x, y = torch.from_numpy(points(60)), torch.ones(60, dtype=torch.int64)
    y[:n_normal] = 0
    kept, kept_labels, held = WithAnomalies(holdout=0.1)._hold_out(x, y)
    assert len(held) == n_held and len(kept) == 60 - n_held
    assert int((kept_labels == 0).sum()) == n_normal - n_held


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture
def forge(tmp_path):
    """Saves a small detector, changes its header, and loads it again."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    ALGANFeature(**QUICK).fit(points(20)).save(good)
    header, tensors = checkpoint.read(good)

    def load(text: str | None = None, parameters: dict | None = None, **changes: object):
        new = header | changes | {"parameters": header["parameters"] | (parameters or {})}
        save_file(tensors, bad, {checkpoint.KEY: text or json.dumps(new)})
        return minigan.load(bad, device="cpu")

    return load


@pytest.mark.parametrize("changes", [{"parameters": {"z_dim": 10**12}}, {"image_shape": [10**12]}])
def test_a_header_that_asks_for_terabytes_gets_none(forge, changes):
    with pytest.raises(ValueError, match="its tensors are not those of the networks"):
        forge(**changes)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"class": "ALGANFeature", "format": ' + "9" * 5000 + "}"])
def test_json_that_breaks_readers(forge, text):
    with pytest.raises(ValueError, match="expected a checkpoint of minigan, got .* something else wrote"):
        forge(text)


def test_a_threshold_that_is_no_number(forge):
    assert forge().threshold_ < np.inf
    with pytest.raises(ValueError, match="its threshold is not a finite number"):
        forge(threshold=float("nan"))


def test_a_checkpoint_without_training_images(tmp_path):
    header = {
        "class": "KernelDensity",
        "parameters": {},
        "image_shape": [2],
        "threshold": None,
        "history": {},
    }
    checkpoint.write(tmp_path / "d", header | {"history": {}}, {"data": torch.zeros(0, 2)})
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(ValueError, match="expected a checkpoint of a working KernelDensity"),
    ):
        minigan.load(tmp_path / "d")


def test_saving_into_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="which is a folder; pass the path of a file"):
        PCA().fit(points(20)).save(tmp_path)


# ---------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(4, 16, 16).to_sparse(), "plain tensor of real numbers, got torch.sparse_coo"),
        (torch.zeros(4, 16, 16, dtype=torch.complex64), "got torch.strided, torch.complex64"),
        (np.zeros((4, 16, 16), np.clongdouble), "expected numbers, got an array of"),
    ],
)
def test_numbers_of_unusual_kinds(x, words):
    with pytest.raises(TypeError, match=words):
        images.as_tensor(x)


def test_a_file_that_holds_no_weights(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"hello")
    with pytest.raises(ValueError, match="expected weights of wide_resnet101_2 as torch.save writes them"):
        features.load_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ALGAN", {"epochs": 1}),
        ("ADeGAN", {"epochs": 1}),
        ("SimultaneousEncoder", {"kimg": 0.1, "phase_kimg": 0.01, "batch_size": 16, "max_width": 4}),
    ],
)
def test_sample_wants_a_number_of_images_and_a_seed(method, settings):
    images = minigan.data.load("digits", size=16).images[:40]
    detector = getattr(minigan, method)(**settings, width=2, z_dim=4, progress=False).fit(images)
    assert detector.sample(np.int64(3), seed=1).shape == (3, 1, 16, 16)
    assert (detector.sample(3, seed=1) == detector.sample(3, seed=1)).all()
    assert detector.sample(0).shape == (0, 1, 16, 16)
    for name, arguments in (("n", {"n": -1}), ("n", {"n": 2.0}), ("seed", {"n": 2, "seed": -1})):
        with pytest.raises(
            ValueError, match=f"expected {name} to be a whole number of at least 0, got {arguments[name]}"
        ):
            detector.sample(**arguments)


@pytest.mark.parametrize("betas", [("0.5", "0.9"), (0.5,), (0.5, 1.0)])
def test_betas_are_two_numbers(betas):
    with pytest.raises(ValueError, match="expected betas to be (a tuple of 2|two numbers from 0 to below 1)"):
        minigan.YGAN(betas=betas)._check_parameters()
