"""Weights of public implementations, as networks of this package."""

from radiodiff.models.released.convert import (
    prior_from_guided_diffusion,
    radiounet_from_authors,
    released_weights,
    unet_from_radiodiff,
    vae_from_radiodiff,
)

__all__ = [
    "prior_from_guided_diffusion",
    "radiounet_from_authors",
    "released_weights",
    "unet_from_radiodiff",
    "vae_from_radiodiff",
]
