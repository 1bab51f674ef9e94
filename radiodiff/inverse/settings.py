"""How a map is reconstructed: presets of sampler, refinement, steps and particles."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from radiodiff.config import Settings
from radiodiff.inverse.samplers import AnySampler, CommonNoise, FixedLevel, IndependentNoise


class RefinementSettings(Settings):
    """What is known of cities and of propagation, added to reconstructed maps."""

    walls: bool = False
    """Draw the walls between measurements inside and outside of buildings as outlines with few
    corners (:mod:`radiodiff.inverse.walls`), where buildings are not given and measurements lie
    inside some."""
    path_loss_model: bool = False
    """Where buildings are drawn or given, hold the gain between them against the dominant path
    model (:mod:`radiodiff.inverse.propagation`). For maps of the prior's own size, with pixels of
    1 m; larger and smaller ones, and surveys, do without."""


class Preset(Settings):
    """A way to reconstruct maps. ``pipeline(measurements, **dict(preset))`` takes all of it."""

    sampler: AnySampler
    refinement: RefinementSettings = RefinementSettings()
    num_inference_steps: int = Field(default=100, ge=1)
    num_particles: int = Field(default=5, ge=1)


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


def takes_level_map(prior: nn.Module) -> bool:
    """Tell whether a prior takes a noise level for every pixel."""
    return bool(getattr(prior.config, "level_map", False))


def preset_for(prior: nn.Module) -> Preset:
    """Return the preset that a prior gets where no sampler is given."""
    return MEAN_MAP if takes_level_map(prior) else MEAN_MAP_BY_NOISE
