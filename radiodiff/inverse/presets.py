"""Ways to reconstruct maps: sampler, refinement, steps and particles that go together."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from radiodiff.config import Settings
from radiodiff.inverse.sampler import AnySampler
from radiodiff.inverse.samplers import CommonNoise, FixedLevel, IndependentNoise
from radiodiff.inverse.settings import RefinementSettings


class Preset(Settings):
    """A way to reconstruct maps. ``pipeline(measurements, **dict(preset))`` takes all of it."""

    sampler: AnySampler
    """How the posterior is sampled."""
    refinement: RefinementSettings = RefinementSettings()
    """What is added to the sampled maps."""
    num_inference_steps: int = Field(default=100, ge=1)
    """Network calls per particle."""
    num_particles: int = Field(default=5, ge=1)
    """Samples of each map."""


CALIBRATED = Preset(sampler=FixedLevel(stochasticity="ddpm", spacing="log_snr"), num_particles=20)
"""Samples with the posterior's spread, by a prior that takes a noise level for every pixel."""

CALIBRATED_BY_WEIGHTS = Preset(
    sampler=CommonNoise(stochasticity="ddpm", spacing="log_snr"), num_particles=64
)
"""Samples with the posterior's spread by any prior, in the limit of many particles."""

MEAN_MAP = Preset(
    sampler=FixedLevel(self_ensemble=True, spacing="mean_map", min_noise_std=0.05),
    refinement=RefinementSettings(walls=True, path_loss_model=True),
    num_inference_steps=4,
    num_particles=12,
)
"""The mean map in few steps, by a prior that takes a noise level for every pixel."""

MEAN_MAP_BY_NOISE = Preset(sampler=IndependentNoise())
"""The mean map by any prior."""


def preset_for(prior: nn.Module) -> Preset:
    """Return the preset that a prior gets where no sampler is given."""
    return MEAN_MAP if getattr(prior.config, "level_map", False) else MEAN_MAP_BY_NOISE
