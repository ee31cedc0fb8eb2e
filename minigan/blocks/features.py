"""Feature vectors from networks trained on ImageNet, for the methods that work on features.

A network is one of torchvision's up to its last block, globally average pooled:

* `wide_resnet101_2`, 2048 numbers per image, as in ALGAN-feature (about 500 MB of weights);
* `efficientnet_b4`, 1792 numbers, from which Y-GAN* guesses the sub-classes of its training images
  (about 75 MB).

The weights are downloaded once by torchvision; where that is not possible, the error says which file to
put where.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor, nn
from torchvision.models import (
    EfficientNet_B4_Weights,
    Wide_ResNet101_2_Weights,
    efficientnet_b4,
    wide_resnet101_2,
)

# For both: the weights that existed when the papers were written.
WEIGHTS = {
    "wide_resnet101_2": Wide_ResNet101_2_Weights.IMAGENET1K_V1,
    "efficientnet_b4": EfficientNet_B4_Weights.IMAGENET1K_V1,
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, which the weights expect


class Backbone:
    """Images to features, in evaluation mode and without gradients.

    Not an `nn.Module` on purpose: a detector trains and saves its own networks, never this one.

    Args:
        weights: "imagenet", or the path of a state dict for the architecture (read with
            `weights_only=True`, so that nothing in the file is executed).
        device: where it computes.
        architecture: "wide_resnet101_2" (d = 2048 features) or "efficientnet_b4" (d = 1792).

    Raises:
        FileNotFoundError: the weights cannot be downloaded, or the given file does not exist.
        ValueError: the given file holds something else, or there is no such architecture.
    """

    def __init__(
        self,
        weights: str | Path = "imagenet",
        device: torch.device | str = "cpu",
        architecture: str = "wide_resnet101_2",
    ):
        if architecture not in WEIGHTS:
            raise ValueError(f"there is no architecture {architecture!r}; choose from {', '.join(WEIGHTS)}")
        if architecture == "wide_resnet101_2":
            network, classifier = wide_resnet101_2(), "fc"
        else:
            network, classifier = efficientnet_b4(), "classifier"
        state = load_weights(weights, architecture)
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{str(weights)!r} does not hold the weights of {architecture}") from error
        setattr(network, classifier, nn.Identity())  # what is left ends in the average pooling: (n, d)
        expected = WEIGHTS[architecture].transforms()  # how the images looked that it was tested on
        self.size, self.interpolation = expected.crop_size[0], expected.interpolation
        self.network, self.device = network.eval().to(device), device

    @torch.inference_mode()
    def __call__(
        self, x: Tensor, rotations: int = 1, size: int | None = None, crop_from: int | None = None
    ) -> Tensor:
        """Features of every image under every rotation.

        Args:
            x: (n, c, h, w) floats in [-1, 1], c = 1 or 3.
            rotations: number of equally spaced angles over the full circle, starting upright.
            size: pixels of the square that the network sees; None is the size that its weights were
                tested at (224 for wide_resnet101_2, 380 for efficientnet_b4).
            crop_from: resize to this size first and cut `size` out of the middle (the paper: 256 for
                objects); None resizes straight to `size` (textures).

        Returns:
            (n, rotations, d) float32 on the CPU.
        """
        x = x.to(self.device).expand(-1, 3, -1, -1)  # grey images become RGB
        size = size or self.size
        x = TF.resize(x, [crop_from or size] * 2, self.interpolation, antialias=True)
        if self.interpolation == TF.InterpolationMode.BICUBIC:
            x = x.clamp(-1, 1)  # it overshoots beside edges
        views = []
        for k in range(rotations):
            view = TF.rotate(x, 360 * k / rotations, TF.InterpolationMode.BILINEAR, fill=-1.0) if k else x
            view = TF.normalize(TF.center_crop(view, [size, size]) / 2 + 0.5, MEAN, STD)
            views.append(self.network(view))
        return torch.stack(views, dim=1).cpu()


def load_weights(weights: str | Path, architecture: str = "wide_resnet101_2") -> dict[str, Tensor]:
    """The state dict for "imagenet" (downloaded and checked by torchvision) or from a file."""
    if weights == "imagenet":
        known, folder = WEIGHTS[architecture], Path(torch.hub.get_dir()) / "checkpoints"
        try:
            return known.get_state_dict(progress=True, check_hash=True)
        except OSError as error:  # URLError is one
            raise FileNotFoundError(
                f"cannot download the ImageNet weights of {architecture} ({error}); put the file "
                f"{known.url.rsplit('/', 1)[-1]} into {folder}, or pass its path instead of 'imagenet', "
                "or your own features, an (n, d) array, to a method that takes vectors"
            ) from error
    if not Path(weights).is_file():
        raise FileNotFoundError(f"there is no file {str(weights)!r} with weights of {architecture}")
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler stumbles over in a file that is something else
        raise ValueError(
            f"{str(weights)!r} is not a file of weights for {architecture} as torch.save writes them"
        ) from error
