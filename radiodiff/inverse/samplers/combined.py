"""A sampler in which the estimate of the clean map and the measurements meet by their precisions.

Works with any linear operator, also where no pixel is measured itself: the measurements correct the
estimate in closed form (:mod:`radiodiff.inverse.operators`), and the result is noised again. The
measurement enters at every step, so the spread of the samples is too small.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from radiodiff.inverse.levels import with_repaint_jumps
from radiodiff.inverse.operators import PixelOperator, PointOperator
from radiodiff.inverse.particles import Network, Problem
from radiodiff.inverse.sampler import ClippedSampler, register
from radiodiff.inverse.transitions import predict_clean, prior_step, stochastic_share

PRIOR_VARIANCE = 0.1
"""Variance of a map's pixels about what its surroundings tell, model range."""


class Operator(Protocol):
    """Measurements that can correct an estimate."""

    def correct(self, x_0: Tensor, variance: Tensor) -> Tensor:
        """Return (B, M, *dims) corrected, given the variance of its error."""


@register
class Combined(ClippedSampler):
    """The estimate of the clean map and the measurements meet by their precisions."""

    takes_points: ClassVar[bool] = True

    method: Literal["combined"] = "combined"
    """Name of the sampler."""
    repaint_jumps: int = Field(default=0, ge=0)
    """Times every step is taken back and repeated, so that pixels agree with measurements beside
    them (RePaint, Lugmayr et al., 2022); each costs a run."""
    guidance: bool = False
    """Spread what measurements say through the network's Jacobian (Song et al., 2023), instead of
    to the measured pixels alone; doubles the cost."""

    def schedule(self, problem: Problem) -> Tensor:
        """Insert the jumps back."""
        return with_repaint_jumps(problem.alpha_bar, self.repaint_jumps)

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Correct every estimate of the clean map by the measurements, then step from it."""
        pixels = PixelOperator(problem.y, problem.observed, problem.noise_std)
        operator: Operator = pixels
        if problem.points is not None:
            operator = PointOperator(problem.points, pixels)
        dtype = problem.y.dtype
        x = problem.begin(problem.normal())
        for k, (t, s) in enumerate(pairwise(problem.alpha_bar)):
            if s < t:
                x = problem.noised_again(x, t, s)
                continue
            x.requires_grad_(self.guidance)
            eps = network(x, t, k)
            # Where the estimate is clipped it has no gradient.
            x_0 = predict_clean(x, eps, t.to(dtype), self.clip and not self.guidance)
            variance = estimate_variance(t)
            corrected = operator.correct(x_0.detach(), variance)
            if self.guidance:
                # The gradient of the measurements' log-likelihood is J^T (corrected - x_0) / r^2.
                (gradient,) = torch.autograd.grad(x_0, x, (corrected - x_0.detach()) / variance)
                x, x_0 = x.detach(), x_0.detach()
                corrected = x_0 + ((1.0 - t) / t.sqrt()).to(dtype) * gradient
            x_0 = corrected.clamp(-1.0, 1.0) if self.clip else corrected
            eps = (x - t.sqrt().to(dtype) * x_0) / (1.0 - t).sqrt().to(dtype)
            c = stochastic_share(self.stochasticity, t, s)
            mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
            x = mean + variance.sqrt() * problem.normal()
        return x, problem.equal_weights(problem.num_particles)


def estimate_variance(alpha_bar: Tensor) -> Tensor:
    """Return the variance of the error of a clean estimate at a level: noise and prior combined."""
    noise = (1.0 - alpha_bar) / alpha_bar
    return PRIOR_VARIANCE * noise / (PRIOR_VARIANCE + noise)
