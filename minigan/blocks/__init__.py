"""Layers, networks and tools that methods share. None of them decides what trains what.

    from minigan import blocks
    G = blocks.DCGANGenerator(z_dim=100, channels=1, size=32)

What methods use is reached from here. Four modules are imported by name where they are needed:
`blocks.losses`, `blocks.progressive`, and, because they take seconds to import, `blocks.features` and
`blocks.clustering`.
"""

from minigan.blocks.dcgan import (
    SIZES,
    DCGANDiscriminator,
    DCGANEncoder,
    DCGANGenerator,
    FeatureDiscriminator,
    LatentClassifier,
    Norm,
    check_size,
    dcgan_widths,
    halving_layers,
    to_4x4,
)
from minigan.blocks.norms import (
    AuxiliaryBatchNorm2d,
    add_auxiliary_norms_,
    add_spectral_norm_,
    auxiliary_norms,
    collecting_statistics,
    forget_running_statistics_,
    running_norms,
    settle_spectral_norm_,
    unchanged_statistics,
)
from minigan.blocks.training import (
    ReplayBuffer,
    Standardize,
    adam,
    frozen,
    init_normal_,
    move_towards_,
    reverse_gradient,
)
from minigan.blocks.unet import UNet, UNetPlusPlus, double_convolution
from minigan.blocks.vectors import VectorDiscriminator, VectorGenerator

__all__ = [
    "SIZES",
    "AuxiliaryBatchNorm2d",
    "DCGANDiscriminator",
    "DCGANEncoder",
    "DCGANGenerator",
    "FeatureDiscriminator",
    "LatentClassifier",
    "Norm",
    "ReplayBuffer",
    "Standardize",
    "UNet",
    "UNetPlusPlus",
    "VectorDiscriminator",
    "VectorGenerator",
    "adam",
    "add_auxiliary_norms_",
    "add_spectral_norm_",
    "auxiliary_norms",
    "check_size",
    "collecting_statistics",
    "dcgan_widths",
    "double_convolution",
    "forget_running_statistics_",
    "frozen",
    "halving_layers",
    "init_normal_",
    "move_towards_",
    "reverse_gradient",
    "running_norms",
    "settle_spectral_norm_",
    "unchanged_statistics",
    "to_4x4",
]
