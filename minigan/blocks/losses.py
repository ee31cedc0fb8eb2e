"""Loss functions of GANs that more than one method uses, and what they compare.

The first two take raw discriminator outputs ("logits"). `sigmoid(logit)` is the D(x) of the papers, the
probability that x is real. Working on logits keeps the logarithms finite, however sure the discriminator is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def bce_real(logits: Tensor) -> Tensor:
    """Binary cross-entropy with the target "real": the mean of -log D(x). (n,) -> ()."""
    return F.softplus(-logits).mean()


def bce_fake(logits: Tensor) -> Tensor:
    """Binary cross-entropy with the target "fake": the mean of -log(1 - D(x)). (n,) -> ()."""
    return F.softplus(logits).mean()


def gradient_penalty(
    D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """Gradient penalty of WGAN-GP: the mean of (||grad_x D(x)||_2 - 1)^2 between real and fake images. -> ().

    Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028, without its weight (10). The gradient with
    respect to the images is itself differentiated, so that D can learn from it.

    Args:
        D: images (n, c, h, w) -> raw outputs (n,).
        real, fake: equally many. No gradient reaches the networks that made them.
        generator: source of the random interpolation x = (1 - e) real + e fake, one e for each pair.
    """
    e = torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device)
    # Detached: the penalty trains D alone, not the generator that made the fakes.
    between = torch.lerp(real.detach(), fake.detach(), e).requires_grad_()
    (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def unit_range(x: Tensor) -> Tensor:
    """Each image stretched to [0, 1]: (x - min x) / (max x - min x), 0 for a constant one. (n, c, h, w)."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    return (x - low) / (high - low).clamp(min=1e-8)
