"""ADe-GAN: anomaly detection for normal data with several patterns, by reconstruction error and pattern.

Cats and dogs are normal, and a tiger is not: it is closer to the cats than the dogs are, and a network that
draws cats draws a tiger hardly worse, so the reconstruction error alone does not reveal it. ADe-GAN's
generator takes the pattern as an input, and an extractor learns from generated images, whose pattern is
known, to classify the patterns and to output a uniform distribution for interpolations between patterns. The
score asks both: is the image reconstructed well, and does it have one clear pattern?

    Chai, Su, Tang, Ding, Fang and Liao, "Improving Anomaly Detection with a Self-Supervised Task Based on
    Generative Adversarial Network", ICASSP 2022, pages 3563-3567.

    (z_c, z_n) --> G --> fake --+--> D --> real?                       stage 1: D, then G (L_adv)
    one of n_c     |            |
    patterns       |            +--> E --> (z_c, z_n) again            stage 2: G and E together (L_sl)
                   +-- mixed patterns --> E --> "no pattern"           (L_ip)
    x --> E --> (pattern, z_n) --> G --> x_hat ~ x                     (L_recon)

What the paper leaves open, and how it is read here:

* z_n has 30 dimensions and standard deviation 0.1, as in ClusterGAN, whose latents these are. The weight of
  the second term of L_sl depends on it: both are parameters.
* The two stages alternate batch by batch. D, G, and G with E have an Adam each, momentums as in DCGAN.
* Interpolation (Definition 3.1) mixes two latents with a random weight, uniform in [0, 1]. Mixtures of one
  pattern are as many as plain latents, in stage 1 and in L_sl. Near the ends of the range, L_ip asks for
  a uniform output where L_sl asks for a certain one.
* "Norms" in L_sl and L_recon are means of squares. G's adversarial loss is -log D(G(z)), as in DCGAN.
* E processes generated images, mixtures and real images in separate passes, and batch norm's running averages
  include all three, though only real images are scored. So they are collected anew after each epoch, from
  reconstructed real images (`collect_norms`); on small data this matters much.
  Because mixtures pass alone, batch norm also helps E to recognise them: in evaluation mode, E does worse
  than a low L_ip suggests.
* E's pattern is a softmax, and G reconstructs an image from these probabilities, not from the most likely
  pattern alone.
* The score (Eq. 9 to 11) is printed with logarithms that cannot be meant: a probability would equal its own
  logarithm. Read as below, it is -1 for an image that is reconstructed well and has one clear pattern, and
  rises to -1 / n_c when the error is large, and also when the pattern is undecided, as the text says. The
  book derives it. mu and s of the normal distribution in Eq. 9 come from the errors of the training images.
* The score returned is that plus 1 / n_c, so that its upper end is 0: near 0, floating point still separates
  a very large error from a larger one, up to some 38 standard deviations.

Not in this file: how the number of patterns is chosen; the paper takes the number of classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import is_whole_number, require
from minigan.images import to_float
from minigan.neural import NeuralDetector


class NormalErrors(nn.Module):
    """Normal distribution N(mu, s^2) of the training images' reconstruction errors.

    It stays on the CPU: a few numbers, in float64, which not every device has.
    """

    mu: Tensor  # (), float64
    s: Tensor  # (), float64

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.zeros((), dtype=torch.float64))
        self.register_buffer("s", torch.ones((), dtype=torch.float64))

    def fit(self, r: Tensor) -> None:
        """Take mu and s from errors (n,)."""
        r = r.double()
        self.mu.copy_(r.mean())
        self.s.copy_(r.std(correction=0).clamp(min=1e-12))  # not 0: equal errors would divide by it

    def fraction_above(self, r: Tensor) -> Tensor:
        """1 - P = 1 - Phi((r - mu) / s) (Eq. 9): the fraction of larger normal errors, (n,) -> (n,)."""
        # 1 - Phi(t) = erfc(t / sqrt(2)) / 2 keeps its digits where the difference from 1 would round to 0.
        return torch.erfc((r.cpu().double() - self.mu) / (self.s * math.sqrt(2))) / 2


# ---------------------------------------------------------------------- losses


def L_ip(pattern_logits: Tensor) -> Tensor:
    """Eq. 6: cross-entropy with 1/n_c each, -1/n_c sum_c log p_c, for mixtures. (n, n_c) -> ()."""
    return -pattern_logits.log_softmax(1).mean()


def L_sl(pattern_logits: Tensor, z_n_hat: Tensor, pattern: Tensor, z_n: Tensor) -> Tensor:
    """Eq. 3: -log p_c + ||z_n_hat - z_n||^2 for generated images. (n, n_c), (n, d), (n,), (n, d) -> ()."""
    return F.cross_entropy(pattern_logits, pattern) + F.mse_loss(z_n_hat, z_n)


def L_recon(x: Tensor, x_hat: Tensor) -> Tensor:
    """Eq. 7: ||x - x_hat||^2, averaged, (n, c, h, w) twice -> ()."""
    return F.mse_loss(x_hat, x)


def anomaly_score(fraction_above: Tensor, q: Tensor, n_c: int) -> Tensor:
    """Eq. 11, -P / n_c - (1 - P) q, plus 1 / n_c: equals (1 - P) (1 / n_c - q). 1 - P, q (n,) -> (n,)."""
    return fraction_above * (1 / n_c - q)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class ADeGAN(NeuralDetector):
    """ADe-GAN on square images of 16 to 256 pixels, 1 or 3 channels, for normal data with several patterns.

    Learning rate, weights and the number of patterns are the paper's (section 4.1), which leaves the rest
    open. On a laptop, `width=16` with 60 epochs takes about a minute on the digits.

    `minigan methods ADeGAN` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {
        "loss_D": {"D"},
        "loss_G": {"G"},
        "L_ip": {"G", "E"},
        "L_sl": {"G", "E"},
        "L_recon": {"G", "E"},
    }
    init_std: ClassVar = {"G": 0.02, "D": 0.02, "E": 0.02}

    #: Passes over the training images; the paper does not say how many.
    epochs: int = 100
    batch_size: int = 64
    #: Number of patterns n_c.
    n_patterns: int = 10
    #: Dimensions and standard deviation of z_n.
    z_dim: int = 30
    sigma: float = 0.1
    #: Weight of L_ip in Eq. 8, the paper's alpha.
    lambda_ip: float = 1.0
    #: Weight of L_sl, the paper's beta. None: 1 for grey images, 10 for colour (section 4.1).
    lambda_sl: float | None = None
    #: Weight of L_recon, the paper's gamma.
    lambda_recon: float = 10.0
    #: The score: Eq. 11 ("both"), or one of its parts: the error r, or minus the largest pattern probability
    #: ("pattern", Eq. 10). "error_over_ink" is no score of the paper but our control: r divided by the sum of
    #: the brightness, from 0 for black. May be changed after `fit`; calibrate again then.
    scored_by: Literal["both", "error", "pattern", "error_over_ink"] = "both"
    #: Collect batch norm's running averages from reconstructed real images only, anew after each epoch.
    collect_norms: bool = True
    #: Learning rate and momentums of every Adam.
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        stack = (channels, size, self.width, self.max_width)
        self.G = blocks.DCGANGenerator(self.n_patterns + self.z_dim, *stack).to(self.device_)
        self.E = blocks.DCGANEncoder(self.n_patterns + self.z_dim, *stack).to(self.device_)
        self.D = blocks.FeatureDiscriminator(*stack).to(self.device_)
        self.errors = NormalErrors()
        self.weight_sl = self.lambda_sl if self.lambda_sl is not None else (1.0 if channels == 1 else 10.0)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr, self.betas)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr, self.betas)
        self.opt_GE = blocks.adam([*self.G.parameters(), *self.E.parameters()], self.lr, self.betas)

    def generate(self, z_c: Tensor, z_n: Tensor) -> Tensor:
        """G(z_c, z_n): weights of the patterns and features to images, (n, n_c), (n, d) -> (n, c, h, w)."""
        return self.G(torch.cat([z_c, z_n], dim=1))

    def extract(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 2: images to pattern logits and z_n: (n, c, h, w) -> (n, n_c), (n, d)."""
        logits, z_n = self.E(x).split([self.n_patterns, self.z_dim], dim=1)
        return logits, z_n

    def redraw(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pattern probabilities and reconstruction G(E(x)): (n, c, h, w) -> (n, n_c), (n, c, h, w)."""
        logits, z_n = self.extract(x)
        p = logits.softmax(1)
        return p, self.generate(p, z_n)

    # ------------------------------------------------------------------ latents

    def features(self, n: int) -> Tensor:
        """z_n ~ N(0, sigma^2): (n, d)."""
        return self.sigma * torch.randn(n, self.z_dim, generator=self.rng_, device=self.device_)

    def patterns(self, n: int) -> Tensor:
        """Numbers of random patterns: (n,)."""
        return torch.randint(self.n_patterns, (n,), generator=self.rng_, device=self.device_)

    def mixing_weights(self, n: int) -> Tensor:
        """lambda of Definition 3.1, uniform in [0, 1]: (n, 1)."""
        return torch.rand(n, 1, generator=self.rng_, device=self.device_)

    def one_pattern(self, n: int) -> tuple[Tensor, Tensor]:
        """n plain latents and n mixtures within a pattern (Eq. 4, 5): patterns (2n,), z_n (2n, d)."""
        z_n, weight = self.features(n), self.mixing_weights(n)
        mixed = weight * self.features(n) + (1 - weight) * self.features(n)
        return self.patterns(2 * n), torch.cat([z_n, mixed])

    def two_patterns(self, n: int) -> tuple[Tensor, Tensor]:
        """n mixtures of two different patterns: their weights (n, n_c) and z_n (n, d)."""
        first, weight = self.patterns(n), self.mixing_weights(n)
        step = torch.randint(1, self.n_patterns, (n,), generator=self.rng_, device=self.device_)
        second = (first + step) % self.n_patterns  # differs from the first
        z_c = weight * self.one_hot(first) + (1 - weight) * self.one_hot(second)
        return z_c, weight * self.features(n) + (1 - weight) * self.features(n)

    def one_hot(self, pattern: Tensor) -> Tensor:
        """Patterns, (n,), as vectors of 0 and one 1, (n, n_c)."""
        # Not F.one_hot, which looks for the largest number first: on a GPU, a step must not wait for one.
        return (pattern[:, None] == torch.arange(self.n_patterns, device=pattern.device)).float()

    # ------------------------------------------------------------------ learning

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Section 3.1.3 for one batch x, (b, c, h, w): both stages, one after the other."""
        b = len(x)
        # Stage 1: L_adv (Eq. 1)
        pattern, z_n = self.one_pattern(b)
        fake = self.generate(self.one_hot(pattern), z_n)
        # Detached: D's loss must not train G.
        loss_D = bce_real(self.D(x)[0]) + bce_fake(self.D(fake.detach())[0])
        self.opt_D.zero_grad()
        loss_D.backward()
        self.opt_D.step()
        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            loss_G = bce_real(self.D(fake)[0])
        self.opt_G.zero_grad()
        loss_G.backward()
        self.opt_G.step()

        # Stage 2, for G and E together: Eq. 8, alpha L_ip + beta L_sl + gamma L_recon
        pattern, z_n = self.one_pattern(b)
        sl = L_sl(*self.extract(self.generate(self.one_hot(pattern), z_n)), pattern, z_n)
        ip = L_ip(self.extract(self.generate(*self.two_patterns(b)))[0])
        recon = L_recon(x, self.redraw(x)[1])
        total = self.lambda_ip * ip + self.weight_sl * sl + self.lambda_recon * recon
        self.opt_GE.zero_grad()
        total.backward()
        self.opt_GE.step()
        return {"loss_D": loss_D, "loss_G": loss_G, "L_ip": ip, "L_sl": sl, "L_recon": recon}

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Collect batch norm's averages, then mu and s of the errors (Eq. 9), from all training images."""
        if self.collect_norms:
            with blocks.collecting_statistics(self.E, self.G):
                for chosen in self.batches(len(x), y):
                    self.redraw(to_float(x[chosen], self.device_))
        self.errors.fit(self._map_batches(lambda part: self.error(part, self.redraw(part)[1]), x))

    # ------------------------------------------------------------------ using it

    @staticmethod
    def error(x: Tensor, x_hat: Tensor) -> Tensor:
        """r = ||x - x_hat||_2: (n, c, h, w) twice -> (n,)."""
        return (x - x_hat).flatten(1).norm(dim=1)

    def score_step(self, x: Tensor) -> Tensor:
        """Eq. 9 to 11: (n, c, h, w) -> (n,), in [1/n_c - 1, 0] by Eq. 11."""
        p, x_hat = self.redraw(x)
        r, q = self.error(x, x_hat), p.amax(1)
        if self.scored_by == "error":
            return r
        if self.scored_by == "error_over_ink":
            return r / ((x + 1) / 2).flatten(1).sum(1).clamp(min=1)  # at least 1: a black image has none
        if self.scored_by == "pattern":
            return -q  # Eq. 10
        return anomaly_score(self.errors.fraction_above(r), q.cpu().double(), self.n_patterns)

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.redraw(x)[1], images)

    def pattern_probabilities(self, images: Any) -> np.ndarray:
        """Probability of each pattern for each image, by E: (n, n_c) float32, rows add up to 1."""
        return self.map_batches(lambda x: self.redraw(x)[0], images)

    @torch.inference_mode()
    def sample(self, n: int, pattern: int | None = None, seed: int = 0) -> np.ndarray:
        """n generated images in [-1, 1], of one pattern (Fig. 4) or of all in turn: (n, c, h, w) float32."""
        z_n = self.sigma * self.draw_latents(n, self.z_dim, seed)
        good = pattern is None or (is_whole_number(pattern) and 0 <= pattern < self.n_patterns)
        require(good, f"expected pattern from 0 to {self.n_patterns - 1} or None, got {pattern!r}")
        self._set_mode(training=False)
        number = torch.arange(n, device=self.device_)
        which = number % self.n_patterns if pattern is None else torch.full_like(number, pattern)
        return self.generate(self.one_hot(which), z_n).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_ip", "lambda_sl", "lambda_recon")
        self._check_at_least(2, "n_patterns", "batch_size")
        require(self.sigma > 0, f"expected sigma to be positive, got {self.sigma}")
