"""Checks of types: what fits an annotation, annotations in words, and how mistakes are answered."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from helpers import raises_sentence

import minigan
from minigan.checks import (
    check_type,
    describe,
    fits,
    is_finite_number,
    is_whole_number,
    require,
)
from minigan.detector import parameter_types

Kind = Literal["hflip", "vflip"]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (np.int64(3), int),
        (np.uint8(3), int),
        (3, float),
        (0.5, float),
        (np.float32(0.5), float),
        (np.int64(3), float),
        (True, bool),
        (np.True_, bool),
        ("a", str),
        (Path("a"), Path),
        ("a", str | Path),
        (Path("a"), str | Path),
        (None, None),
        (None, int | None),
        (3, int | None),
        ("training set", int | Literal["training set"]),
        (2, int | Literal["training set"]),
        ("scale", float | Literal["scale", "auto"]),
        (1, Literal[1, 2]),
        ("hflip", Kind),
        ((), tuple[Kind, ...]),
        (("hflip", "vflip"), tuple[Kind, ...]),
        (["hflip"], tuple[Kind, ...]),  # JSON has lists only
        ((0.5, 0.9), tuple[float, float]),
        ([0, 0.9], tuple[float, float]),
        (torch.device("cpu"), str | torch.device),
    ],
)
def test_what_fits(value, annotation):
    assert fits(value, annotation)
    check_type("x", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (2.5, int),
        (3.0, int),
        ("3", int),
        (None, int),
        (True, int),  # True is not 1
        (np.True_, int),
        (np.float64(3), int),
        (np.array(3), int),
        (True, float),
        (float("nan"), float),
        (float("inf"), float),
        (np.float32("inf"), float),
        ("0.5", float),
        (1, bool),
        (0, bool),
        (None, bool),
        ("True", bool),
        (3, str),
        (Path("a"), str),
        ("a", Path),
        (3, str | Path),
        (0, None),
        (0.5, int | None),
        (True, int | Literal["training set"]),
        ("test set", int | Literal["training set"]),
        (True, Literal[1, 2]),
        (1.0, Literal[1, 2]),
        ("1", Literal[1, 2]),
        (3, Literal[1, 2]),
        ("Hflip", Kind),
        ("hflip", tuple[Kind, ...]),
        (("rotate",), tuple[Kind, ...]),
        ((1,), tuple[Kind, ...]),
        (None, tuple[Kind, ...]),
        ((0.9,), tuple[float, float]),
        ((0.0, 0.5, 0.9), tuple[float, float]),
        ((0.5, True), tuple[float, float]),
        (("0.5", "0.9"), tuple[float, float]),
        (np.array([0.5, 0.9]), tuple[float, float]),
    ],
)
def test_what_does_not_fit(value, annotation):
    assert not fits(value, annotation)
    with pytest.raises(ValueError, match=r"^expected x to be .*, got .*[^.]$"):
        check_type("x", value, annotation)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (float, "a finite number"),
        (bool, "True or False"),
        (str, "text"),
        (Path, "a path"),
        (int | None, "a whole number or None"),
        (str | Path | None, "text, a path or None"),
        (Literal["naive", "unet", "unet++"], "'naive', 'unet' or 'unet++'"),
        (Literal[1, 2], "1 or 2"),
        (int | Literal["training set"], "a whole number or 'training set'"),
        (tuple[float, float], "a tuple of 2, each item a finite number"),
        (tuple[Kind, ...], "a tuple, each item 'hflip' or 'vflip'"),
        (str | torch.device, "text or device"),
    ],
)
def test_types_in_words(annotation, words):
    assert describe(annotation) == words


@pytest.mark.parametrize(
    ("method", "name", "value", "words"),
    [
        ("PCA", "n_components", "mle", "expected n_components to be a finite number, got 'mle'"),
        (
            "ALGAN",
            "buffer_batches",
            True,
            "expected buffer_batches to be a whole number or 'training set', got True",
        ),
        ("ALGAN", "buffer_batches", 1.5, "a whole number or 'training set', got 1.5"),
        ("AGAD", "generator", "vgg", "expected generator to be 'naive', 'unet' or 'unet++', got 'vgg'"),
    ],
)
def test_hyperparameters_are_refused_with_the_expected_kinds(method, name, value, words):
    with raises_sentence(ValueError, words):
        minigan.get(method)(**{name: value})._check_parameters()


@pytest.mark.parametrize("name", minigan.methods())
def test_the_defaults_of_every_method_fit_their_types(name):
    for parameter, annotation in parameter_types(minigan.get(name)).items():
        check_type(parameter, getattr(minigan.get(name), parameter), annotation)
        assert "typing" not in describe(annotation) and "[" not in describe(annotation)


@pytest.mark.parametrize(
    ("value", "whole", "finite"),
    [
        (3, True, True),
        (np.int8(3), True, True),
        (True, False, False),
        (np.True_, False, False),
        (0.5, False, True),
        (np.float16(0.5), False, True),
        (float("nan"), False, False),
        (-float("inf"), False, False),
        ("3", False, False),
        (None, False, False),
        (3j, False, False),
    ],
)
def test_numbers(value: Any, whole: bool, finite: bool):
    assert is_whole_number(value) is whole
    assert is_finite_number(value) is finite


def test_require():
    require(True, "not raised")
    with pytest.raises(ValueError, match="^expected this, got that$"):
        require(False, "expected this, got that")


def test_checks_need_no_torch():
    code = "import sys, minigan.checks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
