"""Batch norm and spectral norm: which statistics normalise an image, and which images change them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


class AuxiliaryBatchNorm2d(nn.Module):
    """Two batch norms in one place: the main one, and an auxiliary one for other images (AdvProp).

    Xie et al., 2020, https://arxiv.org/abs/1911.09665. `auxiliary_norms` switches to the second.
    """

    def __init__(self, main: nn.BatchNorm2d):
        super().__init__()
        self.main, self.auxiliary = main, copy.deepcopy(main)
        self.use_auxiliary = False

    def forward(self, x: Tensor) -> Tensor:
        return (self.auxiliary if self.use_auxiliary else self.main)(x)


def add_auxiliary_norms_(network: nn.Module) -> None:
    """Replace every batch norm of the network by an `AuxiliaryBatchNorm2d`, in place."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, AuxiliaryBatchNorm2d(child))


@contextmanager
def auxiliary_norms(network: nn.Module) -> Iterator[None]:
    """Inside, the network normalises with its auxiliary batch norms, where it has any."""
    norms = [module for module in network.modules() if isinstance(module, AuxiliaryBatchNorm2d)]
    for norm in norms:
        norm.use_auxiliary = True
    try:
        yield
    finally:
        for norm in norms:
            norm.use_auxiliary = False


@contextmanager
def running_norms(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms use their running statistics, and do not change them."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


@contextmanager
def unchanged_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms in training use the batch's statistics, and leave the running ones as they are."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # running average = 1 * old + 0 * new
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@contextmanager
def collecting_statistics(*networks: nn.Module) -> Iterator[None]:
    """Inside, batch norms collect their running statistics anew: the means over all batches that pass.

    Each batch is normalised with its own statistics meanwhile. A batch norm that no batch passes keeps its
    earlier running statistics.
    """
    norms = [m for network in networks for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.training) for norm in norms]
    earlier = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # to PyTorch: a plain mean, in which all batches count the same
        norm.train()
    try:
        yield
    finally:
        for norm, (momentum, training), buffers in zip(norms, before, earlier, strict=True):
            norm.momentum = momentum
            norm.train(training)
            if norm.num_batches_tracked is not None and norm.num_batches_tracked == 0:
                norm.load_state_dict(buffers, strict=False)


def forget_running_statistics_(network: nn.Module) -> None:
    """Drop the running statistics: every batch norm always uses the current batch, in place.

    That holds in evaluation mode too, as in some published code: the output for an image then depends on the
    other images of its batch.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None


def add_spectral_norm_(network: nn.Module) -> None:
    """Spectral normalisation: divide the weight W of every layer by its largest singular value, in place.

    Layers are convolutions and linear layers; W is estimated by power iteration (Miyato et al., 2018).
    """
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            spectral_norm(module)


def settle_spectral_norm_(network: nn.Module, iterations: int = 30) -> None:
    """Estimate the largest singular values of spectrally normalised weights anew, in place.

    Training makes one power iteration a step, which suffices where weights change slowly. Weights that were
    averaged, or changed by hand, need more.
    """
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            modes = {each: each.training for each in module.modules()}
            module.train()
            for _ in range(iterations):
                module.weight  # noqa: B018  # each access is a power iteration
            for each, training in modes.items():
                each.training = training
