"""ALGAN: a GAN whose generator also makes pseudo-anomalies, and whose discriminator detects anomalies.

The discriminator of a GAN learns to separate real images from fakes that look the same, which is of little
use against images that look different. ALGAN also shows it two kinds of clearly wrong images: fakes from
latent vectors with a larger variance, and fakes from earlier in training. So it learns "real and normal"
against "everything around it", and its raw output is the anomaly score.

    Murase and Fukumizu, "ALGAN: Anomaly Detection by Generating Pseudo Anomalous Data via Latent
    Variables", IEEE Access 10, 2022. https://arxiv.org/abs/2202.10281

    z_n ~ N(0, I)         --+
    z_a ~ N(0, sigma^2 I) --+--> G --> x' fresh fakes --+--> buffer --> x_hat old fakes --+
                                                        |                                |
    x real, normal  ------------------------------------+--------------------------------+--> D --> real?
    z_g ~ N(0, I) --> G --> D --> "real!"   (the only thing that G learns from)

What the paper leaves open, and how it is read here:

* Buffer size: twice the batch (section 4.1), or `"training set"`, twice the training set (section 3.1).
* "Update frequency of latents" n_z = 2: Algorithm 1 draws new latents every second *epoch*; here, in epoch 1
  too. To the letter it draws one batch, for all batches of these epochs (`shared_latents=True`). Here each
  batch of an epoch has latents of its own, used for two epochs.
* Epoch 1 has no loss on buffered fakes (Algorithm 1, line 10); fresh fakes then have weight 1.
* The weights alpha and 1 - alpha (Eq. 3) result from drawing each latent from the mixture (Eq. 2).
* Which statistics batch norm uses for D's fakes: normal and anomalous latents share one pass (Algorithm 1,
  line 9) and so one set of statistics, `batch_norm="batch"`. That decides how far the anomalous fakes spread,
  so the two other readings, "running" and "none", are switches; the book's toy chapter measures all three.
* The generator's loss is -log D(G(z)), as in DCGAN. `saturating=True` is Eq. 3 taken literally.
* Widths double from 64 at the image, as in DCGAN, up to 512; feature networks have 512. Initial weights are
  N(0, 0.02^2), as in DCGAN (PyTorch's default without batch norm). A batch holds no buffered item twice.
* Vectors are standardised with the training set's mean and standard deviation. Pretrained features of images
  are taken as they are: many of these hardly vary among normal images, and an anomaly would lie hundreds of
  standard deviations away, where D's output means nothing (bottles: AUROC 0.00, instead of 0.98).
* Rotations are equally spaced.
* The paper keeps the epoch with the best AUROC on anomalous validation images, here
  `use_weights("best_validation")`; without it the last epoch counts.

Not in this file but in `minigan.tables.algan`: experiments, and the augmentations of section 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from minigan import blocks
from minigan.blocks.losses import bce_fake, bce_real
from minigan.checks import require
from minigan.images import Augmentation, augment
from minigan.neural import NeuralDetector

if TYPE_CHECKING:
    from minigan.blocks.features import Backbone

# ---------------------------------------------------------------------- losses


def loss_D(real: Tensor, fresh: Tensor, buffered: Tensor | None, xi: float) -> Tensor:
    """Eq. 3 for D, to be minimised: -log D(x) - xi log(1 - D(x')) - (1 - xi) log(1 - D(x_hat)) -> ().

    Takes D's raw outputs for the real, fresh and buffered batch, (n,) each. alpha does not appear: it is the
    fraction of normal latents among those of the fakes (Eq. 2). Without buffered fakes (first epoch, or no
    buffer) the fresh ones have the whole weight.
    """
    if buffered is None:
        return bce_real(real) + bce_fake(fresh)
    return bce_real(real) + xi * bce_fake(fresh) + (1 - xi) * bce_fake(buffered)


def loss_G(fake: Tensor, saturating: bool = False) -> Tensor:
    """G's loss: -log D(G(z_g)), or log(1 - D(G(z_g))) as Eq. 3 has it (`saturating`). (n,) -> ()."""
    return -bce_fake(fake) if saturating else bce_real(fake)


# ---------------------------------------------------------------------- the detectors


@dataclass(kw_only=True, eq=False, repr=False)
class ALGAN(NeuralDetector):
    """ALGAN-image: learns from square images of 16 to 256 pixels, 1 or 3 channels.

    Defaults are the paper's (section 4.1). On a laptop, `width=16` and 32-pixel images take seconds.

    `minigan methods ALGAN` lists all hyperparameters.
    """

    gradient_flow: ClassVar = {"loss_D": {"D"}, "loss_G": {"G"}}
    init_std: ClassVar = {"G": 0.02, "D": 0.02}

    #: Passes over the training images (section 4.3).
    epochs: int = 512
    batch_size: int = 16
    #: Dimensions of the latent vector.
    z_dim: int = 100
    #: Standard deviation of the anomalous latents z_a; 1 makes them normal.
    sigma: float = 4.0
    #: Fraction of normal latents among those of D's fakes; 1 = no anomalous latents.
    alpha: float = 0.75
    #: Weight of fresh fakes in D's loss; buffered ones have the weight 1 - xi.
    xi: float = 0.75
    #: Draw new latents every n_z epochs.
    n_z: int = 2
    #: One batch of latents for all batches of these epochs (Algorithm 1 to the letter), or others for each.
    shared_latents: bool = False
    #: Updates of D per batch; G has one.
    n_dis: int = 2
    #: Size of the buffer in batches; 0 = no buffer; "training set" = twice the training set (section 3.1).
    buffer_batches: int | Literal["training set"] = 2
    #: Learning rates of Adam.
    lr_G: float = 2e-4
    lr_D: float = 1e-4
    #: Momentums of both Adams.
    betas: tuple[float, float] = (0.0, 0.9)
    #: Channels of the layers next to the image; they double inwards up to max_width.
    width: int = 64
    max_width: int = 512
    #: Append each pixel's maximum and mean over the channels (MVTec-AD: 3 + 2 = 5 channels).
    extra_channels: bool = False
    #: Random changes of the training images: any of "hflip", "vflip", "rotate" (section 4.2).
    augment: tuple[Augmentation, ...] = ()
    #: Batch norm in G while it makes D's fakes: "batch" uses the statistics of these fakes, normal and
    #: anomalous together; "running" the averages over normal fakes (G in evaluation mode); "none" leaves
    #: batch norm out of G.
    batch_norm: Literal["batch", "running", "none"] = "batch"
    #: Use Eq. 3's own generator loss, whose gradient vanishes while D is winning.
    saturating: bool = False

    def build(self, image_shape: tuple[int, ...]) -> None:
        channels, size = blocks.check_size(image_shape)
        channels = channels + 2 if self.extra_channels else channels
        normed = self.batch_norm != "none"
        stack = (channels, size, self.width, self.max_width)
        self.G: nn.Module = blocks.DCGANGenerator(self.z_dim, *stack, normed)
        self.D: nn.Module = blocks.DCGANDiscriminator(*stack)
        self._optimise()

    def _optimise(self) -> None:
        self.G, self.D = self.G.to(self.device_), self.D.to(self.device_)
        self.opt_G = blocks.adam(self.G.parameters(), self.lr_G, self.betas)
        self.opt_D = blocks.adam(self.D.parameters(), self.lr_D, self.betas)

    def latents(self, *shape: int, alpha: float = 1.0) -> Tensor:
        """Latents z ~ alpha N(0, I) + (1 - alpha) N(0, sigma^2 I), a mixture (Eq. 2): (*shape, z_dim)."""
        z = torch.randn(*shape, self.z_dim, generator=self.rng_, device=self.device_)
        normal = torch.rand(*shape, 1, generator=self.rng_, device=self.device_) < alpha
        return torch.where(normal, z, self.sigma * z)

    def start_epoch(self) -> None:
        """Algorithm 1, lines 2-5: every n_z epochs, latents for all batches of an epoch."""
        if self.epoch_ == 1:
            twice = 2 * self.steps_per_epoch_  # the training set, in batches
            batches = twice if self.buffer_batches == "training set" else self.buffer_batches
            self.buffer = blocks.ReplayBuffer(batches * self.batch_size_, self.rng_) if batches else None
        if self.epoch_ == 1 or self.epoch_ % self.n_z == 0:
            steps = self.steps_per_epoch_
            shape = (1 if self.shared_latents else steps, self.batch_size_)
            self.z_d = self.latents(*shape, alpha=self.alpha).expand(steps, -1, -1)  # (m, b, z_dim), line 3
            self.z_g = self.latents(*shape).expand(steps, -1, -1)  # (m, b, z_dim), line 4

    def branch(self) -> tuple[bool, int]:
        """Whether buffered fakes take part, and how many there are: a full buffer does not grow."""
        return self.epoch_ > 1, len(self.buffer or ())

    def training_step(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        """Algorithm 1, lines 7-20, for one batch x, (b, c, h, w)."""
        x = self.with_extra_channels(augment(x, self.augment, self.rng_))
        self.G.train(self.batch_norm != "running")
        with torch.no_grad():  # D's loss must not train G
            # line 9: x' = G(z_d); G does not change while D learns
            x_fresh = self.G(self.live(lambda: self.z_d[self.step_]))
        self.G.train()
        for _ in range(self.n_dis):  # line 8
            batches = [x, x_fresh]
            if self.epoch_ > 1 and self.buffer:  # line 10
                batches.append(self.buffer.sample(len(x)))  # line 13
            # One pass for all: D has no batch norm, so its output for an item depends on that item only.
            real, fresh, *buffered = self.D(torch.cat(batches)).split(len(x))
            error_D = loss_D(real, fresh, buffered[0] if buffered else None, self.xi)  # lines 11, 14
            self.opt_D.zero_grad()
            error_D.backward()
            self.opt_D.step()  # line 16
        if self.buffer is not None:
            self.buffer.add(x_fresh)  # line 18

        with blocks.frozen(self.D):  # the gradient passes through D to G, but must not train D
            z_g = self.live(lambda: self.z_g[self.step_])
            error_G = loss_G(self.D(self.G(z_g)), self.saturating)  # line 19
            self.opt_G.zero_grad()
            error_G.backward()
            self.opt_G.step()  # line 20
        return {"loss_D": error_D, "loss_G": error_G}

    def score_step(self, x: Tensor) -> Tensor:
        """Minus D's raw output, without the sigmoid (section 3.5, Fig. 5): (n, c, h, w) -> (n,)."""
        return -self.D(self.with_extra_channels(x))

    def with_extra_channels(self, x: Tensor) -> Tensor:
        """Append the maximum and the mean over the channels: (n, c, h, w) -> (n, c + 2, h, w)."""
        if not self.extra_channels:
            return x
        return torch.cat([x, x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)

    @torch.inference_mode()
    def sample(self, n: int, anomalous: bool = False, seed: int = 0) -> np.ndarray:
        """n fakes in [-1, 1] from normal or anomalous latents (Fig. 1): (n, c, h, w) float32.

        With `extra_channels`, the last two of the c channels are the generated maximum and mean. G is in
        evaluation mode, so batch norm uses its running statistics. With `batch_norm="batch"`, D was therefore
        trained on fakes that were scaled differently, early in training by much.
        """
        z = self.draw_latents(n, self.z_dim, seed)
        return self.G(self.sigma * z if anomalous else z).cpu().numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("alpha", "xi"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"expected {name} to lie in [0, 1], got {value}")
        require(self.sigma > 0, f"expected sigma to be positive, got {self.sigma}")
        self._check_at_least(1, "n_z", "n_dis")
        if self.buffer_batches != "training set":
            self._check_at_least(0, "buffer_batches")


@dataclass(kw_only=True, eq=False, repr=False)
class ALGANFeature(ALGAN):
    """ALGAN-feature: learns from (n, d) feature vectors, or from a pretrained network's features of images.

    Every image is rotated by several angles (section 4.2): in training each rotation gives another vector, in
    prediction the scores of all rotations are averaged. Vectors given by the user are not rotated.

    `minigan methods ALGANFeature` lists all hyperparameters.
    """

    takes: ClassVar = ("vectors", "images")
    adjustable: ClassVar = ALGAN.adjustable | {"rotations_score"}

    #: Passes over the training vectors (section 4.3; Table 6's 196 is a slip).
    epochs: int = 192
    #: Units of the two hidden layers of each network.
    width: int = 512
    #: Equally spaced angles in training and in prediction (section 4.2).
    rotations_fit: int = 24
    rotations_score: int = 64
    #: Resize images to this size and crop the central 224 pixels (objects: 256); None resizes to 224.
    crop_from: int | None = None
    #: The pretrained network: the paper's, or one that is installed with its weights (`minigan[features]`).
    backbone: Literal["wide_resnet101_2", "efficientnet_lite0"] = "wide_resnet101_2"
    #: Its ImageNet weights: "imagenet" (downloaded for the paper's network), or the path of a state dict.
    weights: str | Path = "imagenet"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        self._check_at_least(1, "rotations_fit", "rotations_score")
        self._check_at_least(224, "crop_from")
        require(
            self.batch_size > 1 or self.batch_norm == "none",
            f"expected at least 2 vectors in a batch for batch norm, got batch_size={self.batch_size}",
        )
        require(
            not self.augment and not self.extra_channels,
            "expected no augment and no extra_channels, which change images, for ALGANFeature, got "
            f"augment={self.augment!r}, extra_channels={self.extra_channels}; leave them out",
        )

    def build(self, image_shape: tuple[int, ...]) -> None:
        # The number of features of the pretrained network, or the length of the vectors.
        known = {"wide_resnet101_2": 2048, "efficientnet_lite0": 1280}
        d = known[self.backbone] if len(image_shape) == 3 else image_shape[0]
        self.standardize = blocks.Standardize(d).to(self.device_)
        self.G = blocks.VectorGenerator(self.z_dim, d, self.width, self.batch_norm != "none")
        self.D = blocks.VectorDiscriminator(d, self.width)
        self._optimise()

    def training_data(self, x: Tensor) -> Tensor:
        """Features of images, or standardised vectors: (n, ...) -> (n * rotations, d)."""
        if x.ndim == 4:
            return self._features(x, self.rotations_fit).flatten(0, 1).to(self.device_)
        self.standardize.fit(x.to(self.device_))
        return self.standardize(x.to(self.device_))

    def score_step(self, x: Tensor) -> Tensor:
        """Minus D's raw output, averaged over the rotations: (n, d) or (n, c, h, w) -> (n,)."""
        if x.ndim == 2:
            return -self.D(self.standardize(x))
        views = self._features(x, self.rotations_score).to(self.device_)  # (n, r, d)
        return -self.D(self.standardize(views.flatten(0, 1))).view(len(x), -1).mean(1)

    def sample(self, n: int, anomalous: bool = False, seed: int = 0) -> np.ndarray:
        """n fake feature vectors from normal or anomalous latents, in the data's own units: (n, d)."""
        fakes = torch.from_numpy(super().sample(n, anomalous, seed)).to(self.device_)
        return self.standardize.undo(fakes).cpu().numpy()

    @property
    def anomaly_map(self) -> NoReturn:
        """Vectors have no places, so there is no map: AttributeError."""
        raise AttributeError("expected a method with heat maps, got ALGANFeature, which scores features")

    def _features(self, x: Tensor, rotations: int) -> Tensor:
        """(n, c, h, w) images, uint8 or float -> (n, rotations, d); extracted once, however often scored."""
        from minigan.blocks.extraction import extract_rotated  # here: torchvision takes seconds to import

        views = extract_rotated(x, self._backbone(), rotations, self.crop_from)
        return torch.from_numpy(np.stack(list(views)))

    def _backbone(self) -> Backbone:
        from minigan.blocks.extraction import shared_backbone

        return shared_backbone(self.weights, self.device_, self.backbone)
