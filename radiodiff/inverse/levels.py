"""Noise levels: which steps of the diffusion are taken, and where a measurement belongs among them.

A level is written as ``alpha_bar`` in (0, 1]: x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) n.
A list of levels runs from the noisiest to 1, the clean map; each pair of neighbours is one step.
"""

from __future__ import annotations

from math import log10

import torch
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.inverse.settings import Spacing

MEAN_MAP_SIGMAS = (1.0, 0.1)
"""Range of sigma, model range, that ``mean_map`` steps through: with more noise an estimate is as
good as the one from noise alone, with less no wall is left to move (docs/findings/inverse.md)."""


def measurement_level(noise_std: Tensor) -> Tensor:
    """Return the level tau whose noise equals a measurement's.

    y = x_0 + sigma n has the distribution of x_tau / sqrt(alpha_bar_tau) where
    (1 - alpha_bar_tau) / alpha_bar_tau = sigma^2.

    Args:
        noise_std: sigma in model range, any shape, >= 0.

    Returns:
        alpha_bar_tau in (0, 1], float64, same shape.
    """
    return 1.0 / (1.0 + noise_std.double() ** 2)


def choose_levels(alphas_cumprod: Tensor, num_steps: int, spacing: Spacing = "uniform") -> Tensor:
    """Choose the levels of ``num_steps`` network calls, and the clean map after them.

    Args:
        alphas_cumprod: (T,) levels the prior was trained at, decreasing.
        num_steps: number of network calls, 1 .. T.
        spacing: ``uniform`` takes evenly spaced training levels; ``log_snr`` spaces the logarithm
            of the signal-to-noise ratio evenly between the extreme training levels, more densely
            where little noise is left, which keeps the variance of well measured pixels;
            ``mean_map`` takes the noisiest level and then spaces the logarithm of sigma evenly over
            ``MEAN_MAP_SIGMAS``, for few steps.

    Returns:
        (num_steps + 1,) float64 increasing levels; the last is 1.

    Raises:
        InputError: more steps than training levels, or none; or ``mean_map`` with levels that do
            not reach beyond it.
    """
    total = len(alphas_cumprod)
    if not 1 <= num_steps <= total:
        raise InputError(f"num_inference_steps = {num_steps}: allowed are 1 .. {total}")
    trained = alphas_cumprod.double().cpu()
    if spacing == "uniform":
        levels = trained[
            torch.linspace(total - 1, 0, num_steps, dtype=torch.float64).round().long()
        ]
    elif spacing == "mean_map":
        first, last = MEAN_MAP_SIGMAS
        if not trained[-1] < measurement_level(torch.tensor(first)):
            raise InputError(
                f"spacing is 'mean_map', but the prior's noisiest level is "
                f"{float(trained[-1]):.3g} in alpha_bar; it must be "
                f"below {1.0 / (1.0 + first**2):.3g}"
            )
        sigma = torch.logspace(log10(first), log10(last), num_steps - 1, dtype=torch.float64)
        levels = torch.cat([trained[-1:], measurement_level(sigma)])
    else:
        log_snr = trained.logit()
        levels = torch.linspace(
            float(log_snr[-1]), float(log_snr[0]), num_steps, dtype=torch.float64
        ).sigmoid()
    return torch.cat([levels, torch.ones(1, dtype=torch.float64)])


def insert_levels(alpha_bar: Tensor, inserted: Tensor) -> Tensor:
    """Insert levels into a schedule, exactly, without moving the others.

    Args:
        alpha_bar: (K + 1,) increasing levels.
        inserted: (L,) levels; those outside the schedule's range or already in it are dropped.

    Returns:
        (K + 1 + up to L,) increasing levels.
    """
    inside = inserted[(inserted > alpha_bar[0]) & (inserted < alpha_bar[-1])]
    return torch.unique(torch.cat([alpha_bar, inside.double()]))


def with_repaint_jumps(alpha_bar: Tensor, times: int) -> Tensor:
    """Take every step but the last back and repeat it ``times`` times (RePaint).

    Args:
        alpha_bar: (K + 1,) increasing levels.
        times: repetitions of a step; 0 leaves the levels as they are.

    Returns:
        (K + 1 + 2 times (K - 1),) levels; where one falls, noise is added again.
    """
    back_and_forth = torch.stack([alpha_bar[:-2], alpha_bar[1:-1]], dim=1).repeat(1, times)
    return torch.cat(
        [torch.cat([back_and_forth, alpha_bar[:-2, None]], dim=1).flatten(), alpha_bar[-2:]]
    )


def share_levels(noise_std: Tensor, observed: Tensor, max_levels: int) -> Tensor:
    """Limit the number of distinct noise levels among the samples of one map.

    Up to ``max_levels`` distinct values are kept exactly. More are rounded up to a geometric grid,
    so a sample is never trusted more than it deserves.

    Args:
        noise_std: sigma per pixel of one map.
        observed: same shape, bool.
        max_levels: at least 2.

    Returns:
        sigma per pixel, same shape.
    """
    distinct = torch.unique(noise_std[observed])
    if len(distinct) <= max_levels:
        return noise_std
    positive = distinct[distinct > 0]
    exact_zero = len(positive) < len(distinct)
    grid = torch.logspace(
        float(positive[0].log10()),
        float(positive[-1].log10()),
        max_levels - exact_zero,
        dtype=torch.float64,
        device=noise_std.device,
    ).to(noise_std)
    grid[-1] = positive[-1]
    nearest_above = grid[torch.searchsorted(grid, noise_std.contiguous()).clamp(max=len(grid) - 1)]
    return torch.where(observed & (noise_std > 0), nearest_above, noise_std)
