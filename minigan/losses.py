"""Losses that more than one method uses, on raw discriminator outputs ("logits").

`sigmoid(logit)` is the D(x) of the papers, the probability that x is real. Working on logits keeps the
logarithms finite, however sure the discriminator is.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def say_real(logits: Tensor) -> Tensor:
    """-log D(x), averaged: small when D calls x real. (n,) -> ()."""
    return F.softplus(-logits).mean()


def say_fake(logits: Tensor) -> Tensor:
    """-log(1 - D(x)), averaged: small when D calls x fake. (n,) -> ()."""
    return F.softplus(logits).mean()
