"""Losses that more than one method uses.

The first two take raw discriminator outputs ("logits"). `sigmoid(logit)` is the D(x) of the papers, the
probability that x is real. Working on logits keeps the logarithms finite, however sure the discriminator is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def say_real(logits: Tensor) -> Tensor:
    """-log D(x), averaged: small when D calls x real. (n,) -> ()."""
    return F.softplus(-logits).mean()


def say_fake(logits: Tensor) -> Tensor:
    """-log(1 - D(x)), averaged: small when D calls x fake. (n,) -> ()."""
    return F.softplus(logits).mean()


def gradient_penalty(
    D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """WGAN-GP's penalty: D's slope is to be 1 between real and generated images.

    Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028, without its weight (10). The gradient with
    respect to the images is itself differentiated, so that D can learn from it.

    Args:
        D: images (n, c, h, w) -> raw numbers (n,).
        real, fake: as many of both. No gradient reaches what made them.
        generator: for the places between them, one for each pair.
    """
    share = torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
    between = torch.lerp(real.detach(), fake.detach(), share).requires_grad_()
    (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
