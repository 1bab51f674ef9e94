"""Sizes and losses of the networks, as configurations give them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from radiodiff.config import Settings

PromptEncoder = Literal["swin_t", "swin_s", "swin_b", "convolutional"]
Preconditioning = Literal["released", "unit_variance"]


class VAESettings(Settings):
    """Sizes of the autoencoder; the defaults are the paper's (55.3 M parameters)."""

    widths: tuple[int, ...] = Field(default=(128, 256, 512), min_length=1)
    """Channels of each scale; every scale but the last halves the map."""
    layers_per_block: int = Field(default=2, ge=1)
    """Residual blocks per encoder scale (the decoder has one more)."""
    latent_channels: int = Field(default=3, ge=1)
    """Channels of the latent map."""
    mid_attention: bool = True
    """Self-attention between the two middle blocks; its cost grows with the map's area squared."""
    norm_groups: int = Field(default=32, ge=1)
    """Groups of the group normalisation; divides every width."""
    latent_scale: float = Field(default=0.3, gt=0)
    """Factor that brings latents to the scale the diffusion works on."""


class VAELossSettings(Settings):
    """The objective of the autoencoder; the defaults are the released settings."""

    perceptual: Literal["none", "lpips"] = "lpips"
    """LPIPS in the reconstruction loss; it needs two weight files, see ``perceptual_weights``."""
    perceptual_weights: str = "data/pretrained/lpips"
    """Directory with vgg16-397923af.pth and lpips_vgg.pth."""
    perceptual_weight: float = Field(default=1.0, ge=0)
    """Factor of LPIPS beside L1 + L2."""
    kl_weight: float = Field(default=1e-6, ge=0)
    """Factor of the KL divergence from the standard normal."""
    discriminator_weight: float = Field(default=0.5, ge=0)
    """Factor of the adversarial loss, on top of the adaptive one; 0 builds no discriminator."""
    discriminator_start: int = Field(default=50_001, ge=0)
    """First training step on which the discriminator takes part."""
    discriminator_width: int = Field(default=64, ge=1)
    """Channels of the discriminator's first layer."""
    discriminator_layers: int = Field(default=3, ge=1)
    """Halvings of the map in the discriminator; 3 gives patches of 70 x 70 pixels."""


class CorrectionSettings(Settings):
    """Sizes of the correction; see :class:`radiodiff.models.correction.PathLossCorrection`."""

    width: int = Field(ge=8, multiple_of=8)
    """Channels within."""
    blocks: int = Field(ge=1)
    """Residual blocks; each looks twice as far as the one before."""
    initial_gate: float = Field(gt=0, lt=1)
    """Share of the decoded map before training."""
