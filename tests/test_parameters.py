"""Hyperparameters of the wrong kind, and checkpoints made to hurt, are answered with one sentence."""

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
from minigan.classical import NearestNeighbors
from minigan.detector import pick_device

QUICK = {"epochs": 1, "width": 4, "progress": False, "device": "cpu"}


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 2.5, "epochs must be a whole number, got 2.5"),
        ("epochs", "3", "epochs must be a whole number, got '3'"),
        ("epochs", None, "epochs must be a whole number, got None"),
        ("n_dis", True, "n_dis must be a whole number, got True"),
        ("sigma", float("inf"), "sigma must be a finite number, got inf"),
        ("lr_G", "fast", "lr_G must be a finite number, got 'fast'"),
        ("lr_D", -0.1, "lr_D must be at least 0, got -0.1"),
        ("contamination", "auto", "contamination must be a finite number, got 'auto'"),
        ("extra_channels", 1, "extra_channels must be True or False, got 1"),
        ("augment", "hflip", "augment must be a tuple, such as (a, b) or (a,), got 'hflip'"),
        ("betas", (0.9,), "betas must be two numbers from 0 to below 1, got (0.9,)"),
        ("betas", (0.0, 1.0), "betas must be two numbers from 0 to below 1"),
        ("max_width", 0, "max_width must be at least 1, got 0"),
        ("seed", -1, "seed must be at least 0 and below 2**32, got -1"),
        ("seed", "a", "seed must be a whole number, got 'a'"),
        ("image_size", True, "image_size must be None or a whole number of pixels, got True"),
        ("device", None, "device 'None' is not one that torch can use here"),
    ],
)
def test_a_hyperparameter_of_the_wrong_kind(name, value, sentence):
    with pytest.raises(ValueError) as caught:
        minigan.ALGAN(**QUICK | {name: value}).fit(zeros(8))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("method", "name", "value", "sentence"),
    [
        ("SimultaneousEncoder", "width", "4", "width must be None or a whole number of channels, got '4'"),
        ("SimultaneousEncoder", "width", True, "width must be None or a whole number of channels, got True"),
        ("SimultaneousEncoder", "width", 2.5, "width must be None or a whole number of channels, got 2.5"),
        ("SimultaneousEncoder", "width", 0, "width must be None or a whole number of channels, got 0"),
        ("SimultaneousEncoder", "kimg", float("nan"), "kimg must be a finite number, got nan"),
        ("SimultaneousEncoder", "phase_kimg", -1, "phase_kimg must be positive, got -1"),
        ("SimultaneousEncoder", "lambda_n", 1.01, "lambda_n must be from 0 to 1, got 1.01"),
        ("SimultaneousEncoder", "leaky_code", 0.2, "leaky_code must be True or False, got 0.2"),
        ("ADeGAN", "width", None, "width must be a whole number, got None"),
        ("ADeGAN", "lambda_sl", float("inf"), "lambda_sl must be None or a number of at least 0, got inf"),
        ("ADeGAN", "lambda_sl", float("nan"), "lambda_sl must be None or a number of at least 0, got nan"),
        ("ADeGAN", "collect_norms", 1, "collect_norms must be True or False, got 1"),
        ("ADeGAN", "n_patterns", 1, "n_patterns must be at least 2, got 1"),
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
        ("augment", ("hflip",), "ALGANFeature learns from vectors"),
        ("extra_channels", True, "ALGANFeature learns from vectors"),
        ("rotations_fit", 0, "rotations_fit must be at least 1"),
        ("rotations_score", 0, "rotations_score must be at least 1"),
        ("crop_from", 100, "crop_from must be None or at least 224 pixels, got 100"),
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


def test_losses_that_explode_at_once_are_not_blamed_on_epoch_0():
    with pytest.raises(FloatingPointError, match="in epoch 1; try a smaller learning rate$"):
        ALGANFeature(**QUICK, sigma=3e38, batch_norm="none").fit(points(20))


def test_a_loaded_detector_says_why_it_cannot_switch(tmp_path):
    ALGANFeature(**QUICK).fit(points(20)).save(tmp_path / "d")
    with pytest.raises(ValueError, match="a checkpoint holds only the weights in use"):
        minigan.load(tmp_path / "d").use("last")


# ---------------------------------------------------------------------- labelled anomalies


@dataclass(kw_only=True, eq=False, repr=False)
class WithAnomalies(NearestNeighbors):
    """Takes labels of anomalies."""

    label_meaning: ClassVar = "anomalies"


@pytest.mark.parametrize("labels", [[0, 1, 2, 0], [1, 1, 1, 1], [-1, 1, 0, 0]])
def test_labels_of_anomalies_are_0_or_1_with_some_0(labels):
    with pytest.raises(ValueError, match=r"0 \(normal\) or 1 \(anomalous\), with normal images among them"):
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
    with pytest.raises(ValueError, match="was not written by minigan"):
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
        pytest.raises(ValueError, match="does not describe a working KernelDensity"),
    ):
        minigan.load(tmp_path / "d")


def test_saving_into_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; pass the path of a file"):
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
    with pytest.raises(ValueError, match="is not a file of weights for wide_resnet101_2"):
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
        with pytest.raises(ValueError, match=f"{name} must be 0 or more, got {arguments[name]}"):
            detector.sample(**arguments)


@pytest.mark.parametrize("betas", [("0.5", "0.9"), (0.5,), (0.5, 1.0)])
def test_betas_are_two_numbers(betas):
    with pytest.raises(ValueError, match="betas must be two numbers from 0 to below 1"):
        minigan.YGAN(betas=betas)._check_parameters()
