"""Feature vectors from a network trained on ImageNet, for the methods that work on features.

The network is torchvision's `wide_resnet101_2` up to its last block, globally average pooled: 2048
numbers per image, as in ALGAN-feature. Its weights (about 500 MB) are downloaded once by torchvision;
where that is not possible, the error says which file to put where.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor, nn
from torchvision.models import Wide_ResNet101_2_Weights, wide_resnet101_2

WEIGHTS = Wide_ResNet101_2_Weights.IMAGENET1K_V1  # the ones that existed when ALGAN was written
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, which the weights expect


class Backbone:
    """Images to features, in evaluation mode and without gradients.

    Not an `nn.Module` on purpose: a detector trains and saves its own networks, never this one.

    Args:
        weights: "imagenet", or the path of a state dict for `wide_resnet101_2` (read with
            `weights_only=True`, so that nothing in the file is executed).
        device: where it computes.

    Raises:
        FileNotFoundError: the weights cannot be downloaded, or the given file does not exist.
        ValueError: the given file holds something else.
    """

    def __init__(self, weights: str | Path = "imagenet", device: torch.device | str = "cpu"):
        network = wide_resnet101_2()
        network.load_state_dict(load_weights(weights))
        network.fc = nn.Identity()  # what is left ends in the average pooling: (n, 3, h, w) -> (n, 2048)
        self.network, self.device = network.eval().to(device), device

    @torch.inference_mode()
    def __call__(
        self, x: Tensor, rotations: int = 1, size: int = 224, crop_from: int | None = None
    ) -> Tensor:
        """Features of every image under every rotation.

        Args:
            x: (n, c, h, w) floats in [-1, 1], c = 1 or 3.
            rotations: number of equally spaced angles over the full circle, starting upright.
            size: pixels of the square that the network sees.
            crop_from: resize to this size first and cut `size` out of the middle (the paper: 256 for
                objects); None resizes straight to `size` (textures).

        Returns:
            (n, rotations, 2048) float32 on the CPU.
        """
        x = x.to(self.device).expand(-1, 3, -1, -1)  # grey images become RGB
        x = TF.resize(x, [crop_from or size] * 2, antialias=True)
        views = []
        for k in range(rotations):
            view = TF.rotate(x, 360 * k / rotations, TF.InterpolationMode.BILINEAR, fill=-1.0) if k else x
            view = TF.normalize(TF.center_crop(view, [size, size]) / 2 + 0.5, MEAN, STD)
            views.append(self.network(view))
        return torch.stack(views, dim=1).cpu()


def load_weights(weights: str | Path) -> dict[str, Tensor]:
    """The state dict for "imagenet" (downloaded and checked by torchvision) or from a file."""
    if weights == "imagenet":
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        try:
            return WEIGHTS.get_state_dict(progress=True, check_hash=True)
        except OSError as error:  # URLError is one
            raise FileNotFoundError(
                f"cannot download the ImageNet weights of wide_resnet101_2 ({error}); put the file "
                f"{WEIGHTS.url.rsplit('/', 1)[-1]} into {folder}, or pass its path as weights, "
                "or pass your own features as an (n, d) array"
            ) from error
    if not Path(weights).is_file():
        raise FileNotFoundError(f"there is no file {str(weights)!r} with weights of wide_resnet101_2")
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler stumbles over in a file that is something else
        raise ValueError(
            f"{str(weights)!r} is not a file of weights for wide_resnet101_2 as torch.save writes them"
        ) from error
