"""The best linear estimate of a map from noisy pixels under a multiscale model, in linear time.

A map is a quadtree: every 2 x 2 block has a mean, and its pixels differ from it by independent
details of a known variance for each scale. Messages up and down the tree (multiscale Kalman
smoothing, after Chou, Willsky and Benveniste, 1994) give an estimate and its variance for every
pixel. Going down, means are interpolated bilinearly, so that blocks do not show.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DETAIL_VARIANCES = (0.0059, 0.0078, 0.0139, 0.0230, 0.0267, 0.0236, 0.0188, 0.0205)
"""Mean square of a pixel's difference to its block's mean, model range, from pixels of 1 m to
blocks of 128 m; on 40 simulated maps (`python studies/inverse_study.py details`)."""
ROOT_VARIANCE = 0.3
"""Variance of the mean of a whole map about 0, model range."""


def quadtree_estimate(y: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate maps from independent noisy values of their pixels.

    Args:
        y: (B, 1, H, W) values, model range; anything finite where the precision is 0.
        precision: (B, 1, H, W) one over the variance of each, >= 0.

    Returns:
        Estimate and variance, both (B, 1, H, W). The tree ends where a side is odd, and after eight
        scales.
    """
    values, weights = [y], [precision]
    for detail in DETAIL_VARIANCES:
        if any(side % 2 for side in values[-1].shape[-2:]):
            break
        information = weights[-1] / (1.0 + detail * weights[-1])
        total = 4.0 * F.avg_pool2d(information, 2)
        weighted = 4.0 * F.avg_pool2d(information * values[-1], 2)
        values.append(weighted / total.clamp(min=torch.finfo(total.dtype).tiny))
        weights.append(total)
    variance = 1.0 / (weights[-1] + 1.0 / ROOT_VARIANCE)
    estimate = variance * weights[-1] * values[-1]
    for detail, value, weight in zip(
        reversed(DETAIL_VARIANCES[: len(values) - 1]),
        reversed(values[:-1]),
        reversed(weights[:-1]),
        strict=True,
    ):
        expected = F.interpolate(estimate, scale_factor=2, mode="bilinear")
        spread = F.interpolate(variance, scale_factor=2, mode="nearest") + detail
        variance = 1.0 / (weight + 1.0 / spread)
        estimate = variance * (weight * value + expected / spread)
    return estimate, variance
