"""Samplers that noise the measurements to the level of the particles, from the top down to tau."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from radiodiff.inverse.levels import measurement_level, with_repaint_jumps
from radiodiff.inverse.particles import Network, Problem, diffuse, resample_if_poor
from radiodiff.inverse.sampler import ClippedSampler, WeightedSampler, register
from radiodiff.inverse.samplers.counted_once import schedule_with_own_levels, with_shared_levels
from radiodiff.inverse.transitions import (
    log_likelihood,
    measurement_step,
    predict_clean,
    prior_step,
    stochastic_share,
)


@register
class CommonNoise(WeightedSampler):
    """One noisy path of the measurements, followed with weights.

    Exact in the limit of many particles.
    """

    method: Literal["common_noise"] = "common_noise"
    """Name of the sampler."""

    def schedule(self, problem: Problem) -> Tensor:
        """Insert the levels of the measurements."""
        return schedule_with_own_levels(with_shared_levels(problem))

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Follow one noisy path of the measurements."""
        return _follow(network, with_shared_levels(problem), self)


@register
class IndependentNoise(ClippedSampler):
    """New noise on the measurements at every level and for every particle, without weights.

    More robust to an imperfect prior than :class:`CommonNoise`.
    """

    method: Literal["independent_noise"] = "independent_noise"
    """Name of the sampler."""
    repaint_jumps: int = Field(default=0, ge=0)
    """Times every step is taken back and repeated, so that pixels agree with measurements beside
    them (RePaint, Lugmayr et al., 2022); each costs a run."""

    def schedule(self, problem: Problem) -> Tensor:
        """Insert the levels of the measurements, and the jumps back."""
        levels = schedule_with_own_levels(with_shared_levels(problem))
        return with_repaint_jumps(levels, self.repaint_jumps)

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Noise the measurements anew at every level."""
        return _follow(network, with_shared_levels(problem), self)


def _follow(
    network: Network, problem: Problem, sampler: CommonNoise | IndependentNoise
) -> tuple[Tensor, Tensor]:
    """Noise the measurements to the level of the particles, until the particles are at tau."""
    y, alpha_bar = problem.y, problem.alpha_bar
    dtype = y.dtype
    abar_tau = measurement_level(problem.noise_std)
    weighted = sampler if isinstance(sampler, CommonNoise) else None
    paths = 1 if weighted else problem.num_particles

    def relative(level: Tensor) -> Tensor:
        """Level seen from tau, at most 1, for every pixel, float64."""
        return (level / abar_tau).clamp(max=1.0)[:, None]

    def entered(level: Tensor) -> Tensor:
        """Pixels whose measurement is as noisy as the level or less."""
        return (problem.observed & (abar_tau >= level))[:, None]

    y_tau = (abar_tau.sqrt().to(dtype) * y)[:, None]
    y_t = diffuse(y_tau, relative(alpha_bar[0]), problem.normal(paths))
    x = torch.where(entered(alpha_bar[0]), y_t, problem.begin(problem.normal()))
    log_weights = problem.equal_weights(problem.num_particles)

    for k, (t, s) in enumerate(pairwise(alpha_bar)):
        if s < t:
            x = problem.noised_again(x, t, s)
            continue
        # 1. Step the prior.
        eps = network(x, t, k)
        x_0 = predict_clean(x, eps, t.to(dtype), sampler.clip)
        c = stochastic_share(sampler.stochasticity, t, s)
        mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
        # 2. Step the measurements: along one path, or anew at every level.
        a_t, a_s, now = relative(t), relative(s), entered(s)
        noise = problem.normal(paths)
        if weighted:
            # The path has its own share of fresh noise, whatever the prior's. At tau a_t is 1.
            a_t = a_t.clamp(max=1.0 - 1e-12)
            y_s = measurement_step(
                y_t, y_tau, a_t, a_s, stochastic_share("ddpm", a_t, a_s.clamp(min=a_t)), noise
            ).to(dtype)
            # 3. Weigh parents by what they predict of the measurements, and draw the good ones.
            if variance > 0:
                log_weights = log_weights + log_likelihood(y_s, mean, variance, now)
                log_weights, mean = resample_if_poor(
                    log_weights,
                    mean,
                    weighted.resampling,
                    weighted.ess_threshold,
                    problem.generator,
                )
            y_t = y_s
        else:
            y_s = diffuse(y_tau, a_s, noise)
        # 4. Propose; observed pixels are the measurements themselves.
        x = torch.where(now, y_s, mean + variance.sqrt() * problem.normal())
    return x, log_weights
