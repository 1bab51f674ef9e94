"""A filter in which the estimate of the clean map and the measurements meet by their precisions.

Works with any linear operator, also where no pixel is measured itself: the measurements correct the
estimate in closed form (:mod:`radiodiff.inverse.operators`), and the result is noised again. The
measurement enters at every step, so the spread of the samples is too small.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from radiodiff.inverse.particles import Network, Problem
from radiodiff.inverse.settings import FilterSettings
from radiodiff.inverse.transitions import predict_clean, prior_step, stochastic_share

PRIOR_VARIANCE = 0.1
"""Variance of a map's pixels about what its surroundings tell, model range."""


class Operator(Protocol):
    """Measurements that can correct an estimate."""

    def correct(self, x_0: Tensor, variance: Tensor) -> Tensor:
        """Return (B, M, *dims) corrected, given the variance of its error."""


def combined_filter(
    network: Network, problem: Problem, settings: FilterSettings, operator: Operator
) -> tuple[Tensor, Tensor]:
    """Correct every estimate of the clean map by the measurements, then step from it.

    Returns:
        Samples (B, M, *dims) and their float64 logarithmic weights (B, M), all equal.
    """
    dtype = problem.y.dtype
    x = problem.begin(problem.normal())
    for k, (t, s) in enumerate(pairwise(problem.alpha_bar)):
        if s < t:
            x = problem.noised_again(x, t, s)
            continue
        x.requires_grad_(settings.guidance)
        eps = network(x, t, k)
        # Where the estimate is clipped it has no gradient.
        x_0 = predict_clean(x, eps, t.to(dtype), settings.clip and not settings.guidance)
        variance = estimate_variance(t)
        corrected = operator.correct(x_0.detach(), variance)
        if settings.guidance:
            # The gradient of the measurements' log-likelihood is J^T (corrected - x_0) / r^2.
            (gradient,) = torch.autograd.grad(x_0, x, (corrected - x_0.detach()) / variance)
            x, x_0 = x.detach(), x_0.detach()
            corrected = x_0 + ((1.0 - t) / t.sqrt()).to(dtype) * gradient
        x_0 = corrected.clamp(-1.0, 1.0) if settings.clip else corrected
        eps = (x - t.sqrt().to(dtype) * x_0) / (1.0 - t).sqrt().to(dtype)
        c = stochastic_share(settings.stochasticity, t, s)
        mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
        x = mean + variance.sqrt() * problem.normal()
    return x, problem.equal_weights(problem.num_particles)


def estimate_variance(alpha_bar: Tensor) -> Tensor:
    """Return the variance of the error of a clean estimate at a level: noise and prior combined."""
    noise = (1.0 - alpha_bar) / alpha_bar
    return PRIOR_VARIANCE * noise / (PRIOR_VARIANCE + noise)
