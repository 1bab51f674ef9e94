"""Which noise levels a prior is trained at: one for a map, or one for measured pixels besides.

Timesteps index the levels ``alphas_cumprod`` of the schedule, from the cleanest to the noisiest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from radiodiff.data.masks import BLOCK_SHAPE
from radiodiff.training.settings import NoiseLevels

LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2
"""Distribution of ln(sigma) of ``log_normal`` (Karras et al., 2022, table 1)."""
MEASURED_SHARE = 0.85
"""Share of the samples in which some pixels are measured."""
MISSING_RATIO = (0.3, 1.0)
"""Range of the share of pixels that are not measured."""
MEASURED_SIGMA = (0.01, 0.3)
"""Range of a measurement's sigma, model range, drawn evenly in its logarithm."""
UNKNOWN_SHARE = 0.65
"""Share of the samples with measured pixels whose other pixels hold nothing but noise: filters
start there, and their first estimate is nearly as good as the last (docs/findings/inverse.md)."""
BLOCK_SHARE = 0.25
"""Share of the masks made of blocks instead of single pixels."""
BUILDINGS_SHARE = 0.25
"""Share of the samples with measured pixels whose buildings are known exactly."""
OUTDOOR_SHARE = 0.25
"""Share of them, buildings unknown, measured outdoors alone, as a survey is."""


def draw_timestep(
    alphas_cumprod: Tensor, levels: NoiseLevels, generator: torch.Generator
) -> Tensor:
    """Draw one timestep: every one alike, or ln(sigma) from a normal distribution.

    Args:
        alphas_cumprod: (T,) decreasing levels.
        levels: the distribution.
        generator: source of randomness.

    Returns:
        () int64.
    """
    if levels == "uniform":
        return torch.randint(len(alphas_cumprod), (), generator=generator)
    log_sigma = LOG_SIGMA_MEAN + LOG_SIGMA_STD * torch.randn((), generator=generator)
    return (_log_sigma(alphas_cumprod) - log_sigma).abs().argmin()


def draw_timestep_map(
    gain: Tensor, alphas_cumprod: Tensor, levels: NoiseLevels, generator: torch.Generator
) -> Tensor:
    """Draw a timestep for every pixel: one for all, or a cleaner one where a map is measured.

    The mask of measured pixels, their noise, the level of the others and whether the buildings
    (pixels at the truncation) are known, or never measured, vary from sample to sample.

    Args:
        gain: (1, H, W) map, model range.
        alphas_cumprod: (T,) decreasing levels.
        levels: distribution of the level of pixels that are not measured.
        generator: source of randomness.

    Returns:
        (1, H, W) int64.
    """
    timestep = draw_timestep(alphas_cumprod, levels, generator).expand(gain.shape)
    measured, unknown, buildings = torch.rand(3, generator=generator).tolist()
    if measured >= MEASURED_SHARE:
        return timestep
    if unknown < UNKNOWN_SHARE:
        timestep = torch.full_like(timestep, len(alphas_cumprod) - 1)
    low, high = torch.tensor(MEASURED_SIGMA).log().tolist()
    log_sigma = low + (high - low) * torch.rand((), generator=generator)
    own = (_log_sigma(alphas_cumprod) - log_sigma).abs().argmin()
    seen = _draw_mask(gain.shape[-2:], generator).expand(gain.shape)
    if BUILDINGS_SHARE <= buildings < BUILDINGS_SHARE + OUTDOOR_SHARE:
        seen = seen & (gain > -1.0)
    timestep = torch.where(seen, timestep.minimum(own), timestep)
    if buildings < BUILDINGS_SHARE:
        timestep = torch.where(gain <= -1.0, 0, timestep)
    return timestep


def _log_sigma(alphas_cumprod: Tensor) -> Tensor:
    return -0.5 * alphas_cumprod.logit()


def _draw_mask(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw the (H, W) bool mask of measured pixels."""
    low, high = MISSING_RATIO
    missing, blocks = torch.rand(2, generator=generator).tolist()
    missing = low + (high - low) * missing
    if blocks >= BLOCK_SHARE:
        return torch.rand(shape, generator=generator) >= missing
    (rows, columns), (height, width) = BLOCK_SHAPE, shape
    coarse = torch.rand((height // rows + 2, width // columns + 2), generator=generator) >= missing
    full = coarse.repeat_interleave(rows, dim=0).repeat_interleave(columns, dim=1)
    top = int(torch.randint(rows, (), generator=generator))
    left = int(torch.randint(columns, (), generator=generator))
    return full[top : top + height, left : left + width]
