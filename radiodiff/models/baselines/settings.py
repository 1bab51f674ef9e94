"""Weights of the losses of RME-GAN in its two phases."""

from __future__ import annotations

from pydantic import Field

from radiodiff.config import Settings


class GeneratorWeights(Settings):
    """Weights of the generator's losses in one phase."""

    adversarial: float = Field(ge=0)
    """Cross entropy of the discriminator's verdict, see :func:`adversarial_loss`."""
    squared: float = Field(ge=0)
    """Mean squared error, gray levels^2."""
    absolute: float = Field(ge=0)
    """Mean absolute error, gray levels."""
    structure: float = Field(ge=0)
    """1 - MS-SSIM, see :func:`ms_ssim`."""
    direction: float = Field(ge=0)
    """Departure from the direction of free propagation, see :func:`direction_loss`."""
    variation: float = Field(ge=0)
    """Total variation, gray levels summed over a map."""
    samples: float = Field(ge=0)
    """Mean absolute error at the measured pixels, gray levels; nothing without measurements."""


# The authors add up the total variation over a batch of 30 maps, with a factor of 1e-7; their mix
# of MS-SSIM and L1 has weight 84 x 200 and shares 0.025 and 0.975.
FIRST_PHASE = GeneratorWeights(
    adversarial=10.0,
    squared=1.0,
    absolute=0.0,
    structure=0.0,
    direction=10.0,
    variation=3e-5,  # 10 x 30 x 1e-7
    samples=0.0,
)


SECOND_PHASE = GeneratorWeights(
    adversarial=1.0,
    squared=100.0,
    absolute=84 * 200 * 0.975,
    structure=84 * 200 * 0.025,
    direction=0.0,
    variation=3e-9,  # 0.001 x 30 x 1e-7
    samples=1.0,
)
