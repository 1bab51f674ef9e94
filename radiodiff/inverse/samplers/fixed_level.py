"""The sampler in which measurements stay at their own noise level."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from radiodiff.inverse.levels import measurement_level, with_repaint_jumps
from radiodiff.inverse.particles import Network, Problem
from radiodiff.inverse.sampler import Sampler, register
from radiodiff.inverse.samplers.counted_once import schedule_with_own_levels, with_shared_levels
from radiodiff.inverse.transitions import predict_clean, prior_step, stochastic_share


@register
class FixedLevel(Sampler):
    """Measurements stay at their own noise level: exact for any number of particles.

    The prior must take a noise level for every pixel (``level_map`` of
    :class:`radiodiff.inverse.prior.PatchUNet`).
    """

    method: Literal["fixed_level"] = "fixed_level"
    """Name of the sampler."""
    min_noise_std: float = Field(default=0.0, ge=0)
    """Cleaner measurements are shown to the network as if they had this noise, model range, and put
    in by their own at the end: for a prior that makes less of clean measurements. Known buildings
    are shown as they are."""
    repaint_jumps: int = Field(default=0, ge=0)
    """Times every step is taken back and repeated, so that pixels agree with measurements beside
    them (RePaint, Lugmayr et al., 2022); each costs a run."""

    def schedule(self, problem: Problem) -> Tensor:
        """Insert the levels that the measurements are shown at, and the jumps back."""
        shown = with_shared_levels(replace(problem, noise_std=self._shown_std(problem)))
        return with_repaint_jumps(schedule_with_own_levels(shown), self.repaint_jumps)

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Diffuse the pixels, and put measurements cleaner than shown in by their precisions."""
        shown_std = self._shown_std(problem)
        shown = with_shared_levels(replace(problem, noise_std=shown_std))
        samples, log_weights = self._diffuse(network, shown)
        own_std = problem.noise_std
        cleaner = problem.observed & (own_std < shown_std)
        share = torch.where(cleaner, own_std**2 / (own_std**2 + shown_std**2), 1.0)[:, None]
        put_in = problem.y[:, None].lerp(samples, share)
        return torch.where(cleaner[:, None], put_in, samples), log_weights

    def _shown_std(self, problem: Problem) -> Tensor:
        known = problem.known
        if known is None:
            # Pixels without noise are known ones, unless a map has no others.
            exact = problem.observed & (problem.noise_std == 0)
            measured = (problem.observed & ~exact).flatten(1).any(dim=1)
            known = exact & measured.view(-1, *[1] * (exact.ndim - 1))
        raised = problem.noise_std.clamp(min=self.min_noise_std)
        return torch.where(known, problem.noise_std, raised)

    def _diffuse(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Diffuse the other pixels backwards while the measurements stay at tau.

        The network's estimate is conditioned on the measurements at every step. So no weights are
        needed, and a single particle has the posterior's distribution.
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
            # Never clipped: cutting off errors on one side would lift flat shadows step by step.
            x_0 = predict_clean(x, eps, level.to(dtype), clip=False)
            c = stochastic_share(self.stochasticity, t, s)
            mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
            x = torch.where(abar_tau >= s, y_tau, mean + variance.sqrt() * problem.normal())
        return x, problem.equal_weights(problem.num_particles)
