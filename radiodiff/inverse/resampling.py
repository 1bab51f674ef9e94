"""Resampling of weighted particles. Log-weights are float64 and unnormalised throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from radiodiff.inverse.settings import Resampling

Generators = torch.Generator | list[torch.Generator]


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """Return 1 / sum w^2 of the normalised weights.

    Args:
        log_weights: (B, M).

    Returns:
        (B,) in [1, M].
    """
    return 1.0 / torch.softmax(log_weights, dim=1).square().sum(dim=1)


def draw_uniform(count: int, generator: Generators, batch: int) -> Tensor:
    """Draw (batch, count) uniforms in float64, from one generator or from one per map."""
    if isinstance(generator, list):
        draws = [
            torch.rand(count, generator=g, dtype=torch.float64, device=g.device) for g in generator
        ]
        return torch.stack(draws)
    return torch.rand(
        batch, count, generator=generator, dtype=torch.float64, device=generator.device
    )


def resample(log_weights: Tensor, scheme: Resampling, generator: Generators) -> Tensor:
    """Draw parents in proportion to their weights.

    Args:
        log_weights: (B, M) float64.
        scheme: ``systematic`` (one uniform per map, least variance) or ``multinomial``.
        generator: one generator, or one per map.

    Returns:
        (B, M) int64 indices of the parents.
    """
    batch, count = log_weights.shape
    if scheme == "systematic":
        offset = draw_uniform(1, generator, batch).to(log_weights.device)
        points = (torch.arange(count, device=log_weights.device) + offset) / count
    else:
        points = draw_uniform(count, generator, batch).to(log_weights.device)
    cumulative = torch.softmax(log_weights, dim=1).cumsum(dim=1)
    # Rounding may leave the last value just below 1, and a point above it without a parent.
    cumulative[:, -1] = 1.0
    return torch.searchsorted(cumulative, points.contiguous()).clamp_(max=count - 1)
