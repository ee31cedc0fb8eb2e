"""GPND: an adversarial autoencoder whose score is how improbable an image is, along and across a surface.

A decoder draws a curved surface in the space of all images, with one direction for each number of the code.
GPND takes the surface as flat around the reconstruction of an image and multiplies two probabilities: of the
place on the surface, and of the distance from it.

    Pidhorskyi, Almohsen, Adjeroh and Doretto, "Generative Probabilistic Novelty Detection with Adversarial
    Autoencoders", NeurIPS 2018. https://arxiv.org/abs/1807.02588

    x --> g --> z --> f --> x_hat ~ x                       (L_error)
                +--> D_z --> drawn from N(0, I)?            (loss_Dz, loss_g)
    N(0, I) --> f --> fake --> D_x --> real?                (loss_Dx, loss_f)

    J = U S V^T, the Jacobian of f at z, (m, d): the d columns of U are the directions of the surface
    p(x) = p(w_par) p(w_perp): w_par are the d coordinates of x along the surface, w_perp its m - d others

What the paper leaves open, and how it is read here (its n, the length of z, is d):

* f(g(x)) is taken for the point of the surface that is closest to x, as in the released code. Then z = g(x),
  and ||w_perp|| is the reconstruction error r = ||x - f(g(x))||. Nothing trains g to find the closest point,
  though: on digits, the flat surface has one that is a third closer. To move there did worse on digits.
* The density of r is learned by a histogram. A histogram is 0 beyond its last bin, so all anomalies would be
  equal. Here it is a kernel density of log r, with Gaussian kernels at 100 quantiles of the training images'
  log r and Scott's bandwidth: its tails never end, and larger errors stay less probable.
* The formula of p(w_perp) divides by r^(m-d). The area of a sphere in m - d dimensions has the exponent
  m - d - 1, which is used here and in the released code.
* p_Z is a product of generalised Gaussians. Their centres are the means of the codes; shapes and scales are
  the most likely ones, with shapes from 0.5 to 10, so that codes far away keep finite scores.
* Singular values of the Jacobian count as at least 1e-6. A direction in which f does not move would otherwise
  make every image infinitely probable.
* L_error, -log p(f(g(x)) | x), is the cross-entropy of the brightness, from 0 to 1, averaged over pixels.
  Its weight, the other settings and D_z are the released code's; layers of g, f and D_x are DCGAN's.
* f decodes codes and draws from N(0, I) in separate passes, and batch norm's running averages include both,
  though only codes of images are scored. So they are collected anew after each epoch, from reconstructed
  training images (`collect_norms`).

What released code does differently: the last version leaves |det S^-1| out (`jacobian=False`); earlier ones
took it from the Jacobian of g. It counts only 20x20 pixels, MNIST's digits without their border, and
multiplies m - d by 0.2, a "power correction": `power=0.076` at 32x32 pixels. (In the formula r counts m - d
times and the place on the surface once, so the score hardly differs from r.) The first version had no power
of r at all, and normalised test images with the statistics of their batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.images import to_float
from minigan.neural import NeuralDetector

#: Bounds of the shape of a generalised Gaussian; 1 is Laplace's distribution, 2 the normal one.
SHAPES = (0.5, 10.0)
#: Numbers that are logarithms' arguments or denominators are at least this large.
SMALLEST = 1e-6

# ---------------------------------------------------------------------- networks and densities


class LatentDiscriminator(nn.Sequential):
    """Latent discriminator with two hidden layers: codes (n, d) -> raw outputs (n,)."""

    def __init__(self, d: int, hidden: int = 128):
        layers: list[nn.Module] = []
        for inside in (d, hidden):
            layers += [nn.Linear(inside, hidden), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(hidden, 1), nn.Flatten(0))
        blocks.init_normal_(self)


class Densities(nn.Module):
    """Densities of normal images: p_Z, generalised Gaussians, and p(r), a kernel density of log r.

    They stay on the CPU: a few numbers, in float64, which not every device has.
    """

    shape: Tensor  # (d,)
    centre: Tensor  # (d,)
    scale: Tensor  # (d,)
    log_r: Tensor  # (100,), quantiles
    bandwidth: Tensor  # ()

    def __init__(self, d: int, n_quantiles: int = 100):
        super().__init__()
        for name in ("shape", "centre", "scale"):
            self.register_buffer(name, torch.ones(d, dtype=torch.float64))
        self.register_buffer("log_r", torch.zeros(n_quantiles, dtype=torch.float64))
        self.register_buffer("bandwidth", torch.ones((), dtype=torch.float64))

    def fit(self, z: Tensor, r: Tensor) -> None:
        """Learn from codes (n, d) and distances (n,) of normal images."""
        z, log_r = z.double(), r.double().clamp(min=SMALLEST).log()
        self.centre.copy_(z.mean(0))
        for i, deviations in enumerate((z - self.centre).abs().clamp(min=SMALLEST).T.numpy()):
            self.shape[i], self.scale[i] = most_likely_shape(deviations)
        places = (torch.arange(len(self.log_r), dtype=torch.float64) + 0.5) / len(self.log_r)
        self.log_r.copy_(log_r.quantile(places))
        self.bandwidth.copy_(log_r.std(correction=0).clamp(min=SMALLEST) * len(log_r) ** -0.2)  # Scott's

    def log_p_z(self, z: Tensor) -> Tensor:
        """log p_Z(z) = sum_i log (b / (2 a Gamma(1/b))) - |(z_i - c) / a|^b. (n, d) -> (n,)."""
        b, a = self.shape, self.scale
        powers = ((z.double() - self.centre) / a).abs() ** b  # (n, d)
        return (torch.log(b / (2 * a)) - torch.lgamma(1 / b) - powers).sum(1)

    def log_p_r(self, r: Tensor) -> Tensor:
        """log p(r), the kernel density of log r divided by r. (n,) -> (n,)."""
        log_r = r.double().clamp(min=SMALLEST).log()
        kernels = -((log_r[:, None] - self.log_r) / self.bandwidth).square() / 2  # (n, 100)
        size = len(self.log_r) * self.bandwidth * math.sqrt(2 * math.pi)
        return kernels.logsumexp(1) - size.log() - log_r


def most_likely_shape(deviations: np.ndarray) -> tuple[float, float]:
    """Shape b and scale a of the most likely generalised Gaussian, from the |z_i - centre|, (n,)."""

    def scale(b: float) -> float:
        return float((b * np.mean(deviations**b)) ** (1 / b))  # the most likely one of this shape

    def loss(log_b: float) -> float:  # -log p(z), averaged, where the scale is that
        b = math.exp(log_b)
        return math.log(2 * scale(b) / b) + float(gammaln(1 / b)) + 1 / b

    b = math.exp(minimize_scalar(loss, bounds=np.log(SHAPES), method="bounded").x)
    return b, scale(b)


def log_p_perp(r: Tensor, log_p_r: Tensor, n_dims: float) -> Tensor:
    """log p(w_perp), of length r in n_dims = m - d dimensions: p(r) over the area of a sphere. (n,) -> (n,).

    Gamma(n_dims / 2) / (2 pi^(n_dims / 2) r^(n_dims - 1)) p(r)
    """
    log_area = math.log(2) + n_dims / 2 * math.log(math.pi) - math.lgamma(n_dims / 2)
    return log_p_r - log_area - (n_dims - 1) * r.double().clamp(min=SMALLEST).log()


def jacobian(f: nn.Module, z: Tensor) -> Tensor:
    """J of f in evaluation mode, for each code on its own: (n, d) -> (n, m, d)."""
    # Scores are computed in inference mode, which knows no derivatives, so it is left here.
    with torch.inference_mode(False), torch.enable_grad():
        z = z.clone().requires_grad_()  # a tensor of inference mode cannot take part
        x_hat = f(z).flatten(1)  # (n, m)
        # J^T u is linear in u, so its derivative by u is J, one column for each of the d numbers of J^T u.
        u = torch.zeros_like(x_hat, requires_grad=True)
        (pulled,) = torch.autograd.grad(x_hat, z, u, create_graph=True)  # J^T u: (n, d)
        columns = [torch.autograd.grad(column.sum(), u, retain_graph=True)[0] for column in pulled.T]
    return torch.stack(columns, dim=2)


# ---------------------------------------------------------------------- the detector


@dataclass(kw_only=True, eq=False, repr=False)
class GPND(NeuralDetector):
    """GPND on square images of 16 to 256 pixels, 1 or 3 channels, scored by -log p(x).

    Defaults are those of the released code for MNIST. On a laptop, `width=16` with 60 epochs and batches of
    32 takes some twenty seconds on a digit.

    `minigan methods GPND` lists all hyperparameters.
    """

    adjustable: ClassVar = NeuralDetector.adjustable | {"power", "jacobian"}
    score_batch_size: ClassVar[int] = 32  # the Jacobians of so many images are in memory together
    gradient_flow: ClassVar = {
        "loss_Dx": {"D_x"},
        "loss_f": {"f"},
        "loss_Dz": {"D_z"},
        "loss_g": {"g"},
        "L_error": {"g", "f"},
    }
    init_std: ClassVar = {"g": 0.02, "f": 0.02, "D_x": 0.02, "D_z": 0.02}

    #: Passes over the training images.
    epochs: int = 80
    batch_size: int = 128
    #: Dimensions of z, the paper's n.
    z_dim: int = 16
    #: Weight of L_error beside loss_g, the paper's lambda. On digits, ten times of it makes scores change
    #: less from epoch to epoch, and the AUROC little.
    lambda_error: float = 0.15
    #: The score: -log p(x) ("novelty"), one of its two parts, -log p(w_par) ("parallel") or -log p(w_perp)
    #: ("perpendicular"), or r alone ("residual"). May be changed after `fit`; calibrate again then.
    scored_by: Literal["novelty", "parallel", "perpendicular", "residual"] = "novelty"
    #: Factor of the m - d dimensions across the surface in p(w_perp); see above for the released code's.
    power: float = 1.0
    #: Include |det S^-1| in p(w_par), which needs the Jacobian of f for each image. The last released code
    #: does not.
    jacobian: bool = True
    #: Collect batch norm's running averages from reconstructed training images only, anew after each epoch.
    collect_norms: bool = True
    #: Learning rate and momentums of every Adam.
    lr: float = 2e-3
    betas: tuple[float, float] = (0.5, 0.999)
    #: Fraction of the epochs after which the rate becomes a quarter, each time: 30 of 80.
    quarter_every: float = 0.375
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        require(
            self.z_dim < math.prod(image_shape),
            f"expected z_dim to be less than the {math.prod(image_shape)} numbers of an image, got "
            f"{self.z_dim}; pass z_dim=16",
        )
        stack = (channels, size, self.width, self.max_width)
        self.g = blocks.DCGANEncoder(self.z_dim, *stack).to(self.device_)
        self.f = blocks.DCGANGenerator(self.z_dim, *stack).to(self.device_)
        self.D_x = blocks.FeatureDiscriminator(*stack).to(self.device_)
        self.D_z = LatentDiscriminator(self.z_dim).to(self.device_)
        self.p = Densities(self.z_dim)
        self.opt_Dx = blocks.adam(self.D_x.parameters(), self.lr, self.betas)
        self.opt_f = blocks.adam(self.f.parameters(), self.lr, self.betas)
        self.opt_Dz = blocks.adam(self.D_z.parameters(), self.lr, self.betas)
        self.opt_gf = blocks.adam([*self.g.parameters(), *self.f.parameters()], self.lr, self.betas)

    def start_epoch(self) -> None:
        rate = self.lr / 4 ** (self.epoch_ // (self.quarter_every * self.epochs))
        for optimiser in (self.opt_Dx, self.opt_f, self.opt_Dz, self.opt_gf):
            optimiser.param_groups[0]["lr"] = rate

    def draw(self, n: int) -> Tensor:
        """z ~ N(0, I): (n, z_dim)."""
        return torch.randn(n, self.z_dim, generator=self.rng_, device=self.device_)

    def branch(self) -> tuple[()]:
        return ()

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Four updates for one batch x, (b, c, h, w), in the paper's order: D_x, f, D_z, then g with f."""
        fake, losses = self.f(self.draw(len(x))), {}
        # Detached: D_x's loss must not train f.
        losses["loss_Dx"] = bce_real(self.D_x(x)[0]) + bce_fake(self.D_x(fake.detach())[0])
        self.update(self.opt_Dx, losses["loss_Dx"])
        with blocks.frozen(self.D_x):  # the gradient passes through D_x to f, but must not train D_x
            losses["loss_f"] = bce_real(self.D_x(fake)[0])
        self.update(self.opt_f, losses["loss_f"])

        z = self.g(x)  # (b, z_dim)
        # Detached: D_z's loss must not train g.
        losses["loss_Dz"] = bce_real(self.D_z(self.draw(len(x)))) + bce_fake(self.D_z(z.detach()))
        self.update(self.opt_Dz, losses["loss_Dz"])
        with blocks.frozen(self.D_z):  # the gradient passes through D_z to g, but must not train D_z
            losses["loss_g"] = bce_real(self.D_z(z))
        # -log p(f(g(x)) | x): both images as brightness from 0 to 1
        losses["L_error"] = F.binary_cross_entropy((self.f(z) + 1) / 2, (x + 1) / 2)
        self.update(self.opt_gf, losses["loss_g"] + self.lambda_error * losses["L_error"])
        return losses

    @staticmethod
    def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def fit_statistics(self, x: Tensor, y: Tensor | None) -> None:
        """Collect batch norm's averages, then p_Z and p(r), from all training images."""
        if self.collect_norms:
            with blocks.collecting_statistics(self.g, self.f):
                for chosen in self.batches(len(x), y):
                    self.f(self.g(to_float(x[chosen], self.device_)))

        def placed(part: Tensor) -> Tensor:
            z, r = self.place(part)
            return torch.cat([z, r[:, None]], dim=1)  # (n, d + 1)

        found = self._map_batches(placed, x)
        self.p.fit(found[:, :-1], found[:, -1])

    def norm_pass(self, x: Tensor) -> None:
        self.f(self.g(x))  # the score's passes, without its Jacobian

    def place(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where images are: z = g(x) of w_par, and r = ||x - f(z)|| of w_perp. -> (n, d), (n,)."""
        z = self.g(x)
        return z, (x - self.f(z)).flatten(1).norm(dim=1)

    def log_det(self, z: Tensor) -> Tensor:
        """log |det S| of the singular values of J at z, by how much f stretches volumes. (n, d) -> (n,)."""
        return torch.linalg.svdvals(jacobian(self.f, z)).clamp(min=SMALLEST).log().sum(1)

    def score_step(self, x: Tensor) -> Tensor:
        """-log p(x) = -log p(w_par) - log p(w_perp), or what `scored_by` says: (n, c, h, w) -> (n,)."""
        z, r = self.place(x)
        r = r.cpu().double()
        if self.scored_by == "residual":
            return r
        n_dims = self.power * (x[0].numel() - z.shape[1])  # m - d, times the power correction
        across = -log_p_perp(r, self.p.log_p_r(r), n_dims)
        if self.scored_by == "perpendicular":
            return across
        along = -self.p.log_p_z(z.cpu())
        if self.jacobian:
            along = along + self.log_det(z).cpu().double()  # p(w_par) = |det S^-1| p_Z(z)
        return along if self.scored_by == "parallel" else along + across

    def reconstruct(self, images: Any) -> np.ndarray:
        """x_hat = f(g(x)) in [-1, 1]: (n, c, h, w) float32."""
        return self.map_batches(lambda x: self.f(self.g(x)), images)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """n images decoded from N(0, I), in [-1, 1]: (n, c, h, w) float32."""
        z = self.draw_latents(n, self.z_dim, seed)
        self._set_mode(training=False)
        return self.f(z).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(0, "lambda_error")
        self._check_at_least(2, "batch_size")
        for name in ("power", "quarter_every"):
            value = getattr(self, name)
            require(value > 0, f"expected {name} to be positive, got {value}; leave it out for the default")
