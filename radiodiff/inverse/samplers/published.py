"""RadioDiff-Inverse as printed: the measurement as a sequence of likelihoods.

The map is diffused by RadioDiff-Inverse, eq. (26), and the measurements with the same noise by
RadioDiff-Inverse, eq. (27), so that y_t is normal around A x_t: RadioDiff-Inverse, eq. (28). One
measurement is counted once per step, and the result stays at the noisy value.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from radiodiff.inverse.particles import Network, Problem, resample_if_poor, select
from radiodiff.inverse.resampling import Generators, resample
from radiodiff.inverse.sampler import ClippedSampler, WeightedSampler, register
from radiodiff.inverse.transitions import (
    conditional_step,
    log_likelihood,
    measurement_step,
    predict_clean,
    prior_step,
    stochastic_share,
)


@register
class Published(WeightedSampler):
    """The paper's filter with the closed-form Gaussian of RadioDiff-Inverse, eq. (34)."""

    method: Literal["published"] = "published"
    """Name of the sampler."""

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Carry the measurement up the diffusion, and weigh by it at every level."""
        return _follow(network, problem, self)


@register
class Candidates(ClippedSampler):
    """The paper's other proposal: M candidates, of which one is kept.

    RadioDiff-Inverse, eq. (35) and RadioDiff-Inverse, eq. (40). The result is a single sample.
    """

    method: Literal["candidates"] = "candidates"
    """Name of the sampler."""

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Carry the measurement up the diffusion, and keep one candidate at every level."""
        return _follow(network, problem, self)


def _follow(
    network: Network, problem: Problem, sampler: Published | Candidates
) -> tuple[Tensor, Tensor]:
    """Carry the measurement up the diffusion with its own error, and weigh by it at every level."""
    y, observed, alpha_bar = problem.y, problem.observed, problem.alpha_bar
    dtype = y.dtype
    weighted = sampler if isinstance(sampler, Published) else None
    kept = problem.num_particles if weighted else 1
    y_0, seen = y[:, None], observed[:, None]
    sigma2 = torch.where(observed, problem.noise_std.to(dtype).square(), torch.inf)[:, None]

    # y_N ~ N(0, A A^T); carried on from a later level it is y_0 diffused to it.
    top = alpha_bar[0].to(dtype)
    y_t = problem.normal(1)
    if problem.start is not None:
        y_t = top.sqrt() * y_0 + (1.0 - top).sqrt() * y_t
    # RadioDiff-Inverse, eq. (30), with the likelihood of RadioDiff-Inverse, eq. (31)
    x = problem.begin(problem.normal(kept))
    if problem.start is None:
        mean, variance = conditional_step(
            torch.zeros_like(x), torch.ones_like(top), y_t, top * sigma2
        )
        x = mean + variance.sqrt() * x
    log_weights = problem.equal_weights(kept)

    for k, (t, s) in enumerate(pairwise(alpha_bar)):
        eps = network(x, t, k)
        x_0 = predict_clean(x, eps, t.to(dtype), sampler.clip)
        c = stochastic_share(sampler.stochasticity, t, s).to(dtype)
        s_, t_ = s.to(dtype), t.to(dtype)
        mean, variance = prior_step(x_0, eps, s_, c)
        # the likelihood of y_s has variance abar_s sigma^2: RadioDiff-Inverse, eq. (32)
        y_t = measurement_step(y_t, y_0, t_, s_, c, problem.normal(1))
        noise = problem.normal()
        if weighted is None:
            x = _candidate_step(mean, variance, y_t, seen, s_ * sigma2, noise, problem.generator)
            continue
        if variance > 0:
            log_weights = log_weights + log_likelihood(y_t, mean, variance + s_ * sigma2, seen)
            log_weights, mean = resample_if_poor(
                log_weights, mean, weighted.resampling, weighted.ess_threshold, problem.generator
            )
        mean, variance = conditional_step(mean, variance, y_t, s_ * sigma2)
        x = mean + variance.sqrt() * noise
    return x, log_weights


def _candidate_step(
    mean: Tensor,
    variance: Tensor,
    y_s: Tensor,
    observed: Tensor,
    likelihood_variance: Tensor,
    noise: Tensor,
    generator: Generators,
) -> Tensor:
    """Draw M candidates from the prior's step and keep one, as printed.

    The candidates are draws of RadioDiff-Inverse, eq. (35). The logarithm of their weight,
    RadioDiff-Inverse, eq. (41), is the sum of RadioDiff-Inverse, eq. (38), written out in
    RadioDiff-Inverse, eq. (39). It contains the density of the proposal,
    RadioDiff-Inverse, eq. (36), which the draw itself has already accounted for. In
    RadioDiff-Inverse, eq. (37), sigma_t is read as the measurement's sigma, as in
    RadioDiff-Inverse, eq. (31). One candidate is drawn by RadioDiff-Inverse, eq. (40).
    """
    x = mean + variance.sqrt() * noise
    everywhere = torch.ones_like(observed)
    log_weights = torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device)
    if variance > 0:
        log_weights = log_likelihood(x, mean, variance, everywhere)
    certain = likelihood_variance.clamp(min=torch.finfo(x.dtype).tiny)
    log_weights = log_weights + log_likelihood(y_s, x, certain, observed)
    chosen = resample(log_weights, "multinomial", generator)[:, :1]
    return select(x, chosen)
