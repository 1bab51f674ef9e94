"""Filters in which a measurement is counted once, at the noise level that equals its own.

y = x_0 + sigma n has the distribution of the diffused map at the level tau where
(1 - abar_tau) / abar_tau = sigma^2. Each pixel has its own tau.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from radiodiff.inverse.levels import measurement_level
from radiodiff.inverse.particles import Network, Problem, diffuse, resample_if_poor
from radiodiff.inverse.settings import FilterSettings
from radiodiff.inverse.transitions import (
    log_likelihood,
    measurement_step,
    predict_clean,
    prior_step,
    stochastic_share,
)


def noised_filter(
    network: Network, problem: Problem, settings: FilterSettings
) -> tuple[Tensor, Tensor]:
    """Noise the measurements to the level of the particles, from the top down to tau.

    Along one path, followed with weights (``common_noise``), or anew at every level
    (``independent_noise``).

    Returns:
        Samples (B, M, *dims) and their float64 logarithmic weights (B, M).
    """
    y, alpha_bar = problem.y, problem.alpha_bar
    dtype = y.dtype
    abar_tau = measurement_level(problem.noise_std)
    shared = settings.weighted
    paths = 1 if shared else problem.num_particles

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
        x_0 = predict_clean(x, eps, t.to(dtype), settings.clip)
        c = stochastic_share(settings.stochasticity, t, s)
        mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
        # 2. Step the measurements: along one path, or anew at every level.
        a_t, a_s, now = relative(t), relative(s), entered(s)
        noise = problem.normal(paths)
        if shared:
            # The path has its own share of fresh noise, whatever the prior's. At tau a_t is 1.
            a_t = a_t.clamp(max=1.0 - 1e-12)
            y_s = measurement_step(
                y_t, y_tau, a_t, a_s, stochastic_share("ddpm", a_t, a_s.clamp(min=a_t)), noise
            ).to(dtype)
            # 3. Weigh parents by what they predict of the measurements, and draw the good ones.
            if variance > 0:
                log_weights = log_weights + log_likelihood(y_s, mean, variance, now)
                log_weights, mean = resample_if_poor(log_weights, mean, settings, problem.generator)
            y_t = y_s
        else:
            y_s = diffuse(y_tau, a_s, noise)
        # 4. Propose; observed pixels are the measurements themselves.
        x = torch.where(now, y_s, mean + variance.sqrt() * problem.normal())
    return x, log_weights


def fixed_level_filter(
    network: Network, problem: Problem, settings: FilterSettings
) -> tuple[Tensor, Tensor]:
    """Diffuse the other pixels backwards while the measurements stay at tau.

    The network's estimate is conditioned on the measurements at every step. So no weights are
    needed, and a single particle has the posterior's distribution.

    Returns:
        Samples (B, M, *dims) and their float64 logarithmic weights (B, M), all equal.
    """
    y, alpha_bar = problem.y, problem.alpha_bar
    dtype = y.dtype
    # Pixels without a measurement wait for nothing.
    abar_tau = torch.where(problem.observed, measurement_level(problem.noise_std), 0.0)[:, None]
    y_tau = abar_tau.sqrt().to(dtype) * y[:, None]
    x = torch.where(abar_tau >= alpha_bar[0], y_tau, problem.begin(problem.normal()))
    for k, (t, s) in enumerate(pairwise(alpha_bar)):
        if s < t:
            x = torch.where(abar_tau >= s, y_tau, problem.noised_again(x, t, s))
            continue
        level = abar_tau.clamp(min=t)
        eps = network(x, level, k)
        # Never clipped: cutting the errors off on one side would lift flat shadows step by step.
        x_0 = predict_clean(x, eps, level.to(dtype), clip=False)
        c = stochastic_share(settings.stochasticity, t, s)
        mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
        x = torch.where(abar_tau >= s, y_tau, mean + variance.sqrt() * problem.normal())
    return x, problem.equal_weights(problem.num_particles)
