"""Heat maps from gradients, for scores that do not come from a reconstruction: where would a change matter?

    gradient_map(detector, images)      # (n, h, w)

The heat of a pixel is |d score / d x|, the mean over its channels, smoothed. It says where the score is
sensitive, which need not be where the defect is: a map from a reconstruction or from patches is better where
a method has one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from minigan.checks import require
from minigan.images import to_float
from minigan.torch_state import usual_modes

#: Standard deviation of the smoothing, as a fraction of the side of an image.
SMOOTHING = 1 / 32


def gradient_map(detector: Any, images: Any) -> np.ndarray:
    """|d score / d x| of each image, smoothed: (n, h, w) float32, from 0 on, higher = more sensitive.

    Args:
        detector: a fitted detector made of networks; its `score_step` has a gradient with respect to pixels.
        images: what `anomaly_score` takes, no vectors.

    Raises:
        NotFittedError, ValueError: as `anomaly_score`; vectors, which have no place on a map.

    Source: Simonyan et al. 2014, "Deep inside convolutional networks", section 3; computed by captum.
    """
    from captum.attr import Saliency  # here: few need it, and it takes a second to import

    detector._check_fitted()
    x = detector._like_training(images)
    require(x.ndim == 4, f"expected images for a heat map, got vectors of shape {tuple(x.shape)}")
    detector._set_mode(training=False)
    parts = []
    with usual_modes():
        saliency = Saliency(detector.score_step)
        for part in x.split(detector.score_batch_size):
            batch = to_float(part, detector.device_).clone().requires_grad_()
            parts.append(saliency.attribute(batch).mean(1).cpu())
    heat = torch.cat(parts).numpy()
    smooth = gaussian_filter(heat, (0, SMOOTHING * heat.shape[1], SMOOTHING * heat.shape[2]), mode="nearest")
    return smooth.astype(np.float32)
