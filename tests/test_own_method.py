"""`contract.check`: a class outside the package is run through the contract, and what is broken is said."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import raises_sentence, zeros

from minigan import PCA, contract
from minigan.models._template import Autoencoder
from minigan.neural import NeuralDetector

QUICK = {"epochs": 2, "width": 4}  # too few epochs for noise to score high, where nothing else is tested
LEARNS = {"epochs": 20, "width": 4, "batch_size": 8, "lr": 2e-3}
DIRECTION = "noise scores higher than training images"


def broken(method: type, settings: dict | None = None) -> dict[str, str]:
    """What the check of a class says: the promises that are broken, each with its sentence."""
    found = contract.check(method, QUICK if settings is None else settings)
    assert found.kept != any(found.verdicts.values())
    return {promise: sentence for promise, sentence in found.verdicts.items() if sentence}


def test_the_template_and_a_classical_method_keep_the_contract():
    found = contract.check(Autoencoder, LEARNS)
    assert found.kept, str(found)
    assert len(found.verdicts) == 10
    assert str(found).startswith("Autoencoder:\nkept    build, training_step, score_step are written\n")
    assert "BROKEN" not in str(found) and repr(found) == str(found)
    assert contract.check(PCA).kept


def test_what_is_not_written_is_named_before_anything_is_trained():
    @dataclass(kw_only=True, eq=False, repr=False)
    class Begun(NeuralDetector):
        def build(self, image_shape):
            raise AssertionError("never called")

    (sentence,) = broken(Begun, {}).values()
    assert "got none called training_step, score_step;" in sentence
    assert "BROKEN  build, training_step, score_step are written\n        expected" in str(
        contract.check(Begun)
    )


class NoisyGlobally(Autoencoder):
    def training_step(self, x, y=None):
        return super().training_step(x + torch.randn_like(x))


class CutOff(Autoencoder):
    def training_step(self, x, y=None):
        loss = F.mse_loss(self.G(self.E(x).detach()), x)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        return {"L_rec": loss}


class Relative(Autoencoder):
    def score_step(self, x):
        scores = super().score_step(x)
        return scores / scores.mean()


class Flipped(Autoencoder):
    def score_step(self, x):
        return -super().score_step(x)


class TooBright(Autoencoder):
    def reconstruct(self, images):
        return super().reconstruct(images) + 2


class Undeclared(Autoencoder):
    init_std: ClassVar = {"E": 0.02, "G": 0.5}


class Forgetful(Autoencoder):
    def end_epoch(self, x, y):
        self.mean_ = float(x.float().mean())  # an attribute, which no file keeps

    def score_step(self, x):
        return super().score_step(x) + getattr(self, "mean_", 0.0)


class Failing(Autoencoder):
    def build(self, image_shape):
        raise RuntimeError("no such layer")


@pytest.mark.parametrize(
    ("method", "promise", "words"),
    [
        (NoisyGlobally, "all randomness comes from the seed", "global generator of torch; pass generator="),
        (CutOff, "each loss trains the networks", "'L_rec' trains ['G'], declared is ['E', 'G']"),
        (CutOff, "every weight is trained", "got E."),
        (Relative, "a score depends on its image alone", "when it is scored by itself ("),
        (Flipped, DIRECTION, "look for a flipped sign in score_step"),
        (TooBright, "what it draws has the shape and range", "TooBright.reconstruct to return images in [-1"),
        (Undeclared, "initial weights have the spread", "G: the initial weights of Undeclared's networks"),
        (Forgetful, "a file keeps everything", "got other scores"),
        (Failing, "it learns from images", "RuntimeError: no such layer"),
    ],
)
def test_a_broken_promise_is_named(method, promise, words):
    found = broken(method, LEARNS if promise == DIRECTION else QUICK)
    (sentence,) = (text for name, text in found.items() if name.startswith(promise))
    assert words in sentence
    others = {name for name in found if not name.startswith(promise)} - {DIRECTION}
    assert len(others) <= (1 if method is CutOff else 2 if method is Failing else 0), others


def test_the_order_of_images_must_not_matter_either():
    class Ordered(Autoencoder):
        def score_step(self, x):
            return super().score_step(x) + torch.arange(len(x)) * (len(x) > 1)

    detector = Ordered(**QUICK, progress=False).fit(zeros())
    with pytest.raises(contract.Broken, match="depend on that image alone"):
        contract.check_scores_stand_alone(detector, zeros()[:6])


def test_own_images_and_labels_are_taken_and_other_classes_refused():
    from minigan import YGAN

    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(90, 12, (24, 16, 16, 3)), 0, 255).astype(np.uint8)
    found = contract.check(YGAN, QUICK, images, np.arange(24) % 2)
    assert found.kept or "noise scores higher" in str(found)
    for wrong in (np.ndarray, Autoencoder(), None):
        with raises_sentence(ValueError, "expected a class of image detectors", "NeuralDetector"):
            contract.check(wrong)


def test_a_check_leaves_global_randomness_alone():
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    contract.check(PCA)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected
