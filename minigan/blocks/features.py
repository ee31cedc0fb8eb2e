"""Pretrained backbones: feature vectors of images from networks trained on ImageNet.

A backbone is one of torchvision's networks without its classifier, ending in global average pooling:

* `wide_resnet101_2`, 2048 features per image, as in ALGAN-feature (about 500 MB of weights);
* `efficientnet_b4`, 1792 features, from which Y-GAN* guesses the sub-classes of its training images
  (about 75 MB).

Torchvision downloads the weights once; where that is not possible, the error says where to put which file.
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

#: Architecture -> its weights, in the version that existed when the papers were written.
WEIGHTS = {
    "wide_resnet101_2": Wide_ResNet101_2_Weights.IMAGENET1K_V1,
    "efficientnet_b4": EfficientNet_B4_Weights.IMAGENET1K_V1,
}
#: Mean and standard deviation of ImageNet's colours: the weights expect images normalised with them.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Backbone:
    """Pretrained backbone: images to features, in evaluation mode and without gradients.

    It is not an `nn.Module` on purpose: a detector trains and saves its own networks, never this one.

    Args:
        weights: "imagenet", or the path of a state dict for the architecture (read with
            `weights_only=True`, so that nothing in the file is executed).
        device: the torch device that computes the features.
        architecture: "wide_resnet101_2" (d = 2048 features) or "efficientnet_b4" (d = 1792).

    Raises:
        FileNotFoundError: the weights cannot be downloaded, or the given file does not exist.
        ValueError: the given file holds something else, or the architecture is unknown.
    """

    def __init__(
        self,
        weights: str | Path = "imagenet",
        device: torch.device | str = "cpu",
        architecture: str = "wide_resnet101_2",
    ):
        if architecture not in WEIGHTS:
            raise ValueError(f"expected an architecture out of {', '.join(WEIGHTS)}, got {architecture!r}")
        if architecture == "wide_resnet101_2":
            network, classifier = wide_resnet101_2(), "fc"
        else:
            network, classifier = efficientnet_b4(), "classifier"
        state = load_weights(weights, architecture)
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"expected the weights of {architecture}, got {str(weights)!r}, which does not fit it; pass "
                "a state dict of torchvision's network"
            ) from error
        setattr(network, classifier, nn.Identity())  # now the network ends in the average pooling: (n, d)
        expected = WEIGHTS[architecture].transforms()  # the preprocessing that the weights were tested with
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
            size: side of the network's input in pixels; None is the size that its weights were tested at
                (224 for wide_resnet101_2, 380 for efficientnet_b4).
            crop_from: resize to this size first, then crop the central `size` pixels (ALGAN's paper: 256 for
                objects); None resizes to `size` directly (textures).

        Returns:
            (n, rotations, d) float32 on the CPU.
        """
        x = x.to(self.device).expand(-1, 3, -1, -1)  # grey images become RGB
        size = size or self.size
        x = TF.resize(x, [crop_from or size] * 2, self.interpolation, antialias=True)
        if self.interpolation == TF.InterpolationMode.BICUBIC:
            x = x.clamp(-1, 1)  # bicubic interpolation overshoots beside edges
        views = []
        for k in range(rotations):
            view = TF.rotate(x, 360 * k / rotations, TF.InterpolationMode.BILINEAR, fill=-1.0) if k else x
            view = TF.normalize(TF.center_crop(view, [size, size]) / 2 + 0.5, MEAN, STD)
            views.append(self.network(view))
        return torch.stack(views, dim=1).cpu()


def load_weights(weights: str | Path, architecture: str = "wide_resnet101_2") -> dict[str, Tensor]:
    """The state dict of a backbone: for "imagenet" downloaded and checked by torchvision, else from a file.

    Raises:
        FileNotFoundError: the weights cannot be downloaded, or the given file does not exist.
        ValueError: the file is not one that `torch.save` wrote.
    """
    if weights == "imagenet":
        known, folder = WEIGHTS[architecture], Path(torch.hub.get_dir()) / "checkpoints"
        try:
            return known.get_state_dict(progress=True, check_hash=True)
        except OSError as error:  # URLError is one
            raise FileNotFoundError(
                f"expected to download the ImageNet weights of {architecture}, got {error}; put the file "
                f"{known.url.rsplit('/', 1)[-1]} into {folder}, or pass its path instead of 'imagenet', "
                "or your own features, an (n, d) array, to a method that takes vectors"
            ) from error
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"expected a file with the weights of {architecture}, got {str(weights)!r}, which is not a file; "
            "pass the path of a state dict, or 'imagenet'"
        )
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind can make the unpickler raise anything
        raise ValueError(
            f"expected weights of {architecture} as torch.save writes them, got {str(weights)!r}, which "
            "cannot be read; pass the path of a state dict, or 'imagenet'"
        ) from error
