"""Sampling the posterior of a diffusion prior given noisy pixels of a map, by any sampler.

Shapes: B maps, M particles, ``dims`` of one map (any number of axes). Levels are ``alpha_bar``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from radiodiff.data.points import PointMeasurements
from radiodiff.errors import InputError
from radiodiff.inverse.particles import Denoiser, Network, Problem, Progress
from radiodiff.inverse.resampling import Generators
from radiodiff.inverse.sampler import SAMPLERS, Sampler


@dataclass(frozen=True)
class FilterResult:
    """Weighted samples of the posterior."""

    samples: Tensor
    """(B, M, *dims), model range."""
    log_weights: Tensor
    """(B, M) float64, normalised."""


def sample_posterior(
    denoiser: Denoiser,
    y: Tensor,
    observed: Tensor,
    noise_std: Tensor,
    alpha_bar: Tensor,
    num_particles: int,
    generator: Generators,
    sampler: Sampler,
    start: Tensor | None = None,
    batch_limit: int | None = None,
    progress: Progress | None = None,
    points: Sequence[PointMeasurements] | None = None,
    known: Tensor | None = None,
) -> FilterResult:
    """Sample maps given noisy values of some of their pixels.

    A map's result depends on its own values and generator only, never on the maps beside it.

    Args:
        denoiser: predicts the noise in a batch of diffused maps.
        y: (B, *dims) measured values; anything where nothing was observed.
        observed: (B, *dims) bool.
        noise_std: (B, *dims) sigma of every value, >= 0.
        alpha_bar: (K + 1,) increasing levels, the last one 1.
        num_particles: M.
        generator: one per map, or one for the whole batch.
        sampler: the method and its options.
        start: (B, M, *dims) maps to begin from, noised to ``alpha_bar[0]``; None begins from noise.
        batch_limit: most maps in one network call; None puts no limit.
        progress: called with the steps done and to do after every step.
        points: of every map, between the pixels and besides ``y``; for samplers that take them.
        known: (B, *dims) bool, pixels that are known and not measured, such as buildings, to which
            ``min_noise_std`` does not apply; None takes those without noise, unless a map has no
            others.

    Returns:
        Samples in the dtype of ``y`` and their normalised weights.

    Raises:
        InputError: the network returned values that are not finite, or ``points`` are given for a
            sampler that takes none.
    """
    if points is not None and not sampler.takes_points:
        takers = ", ".join(sorted(name for name, other in SAMPLERS.items() if other.takes_points))
        raise InputError(
            f"sampler.method is {sampler.method!r}; measurements between the pixels need {takers}"
        )
    maps = range(len(y))
    everything = Problem(
        y, observed, noise_std, alpha_bar, num_particles, generator, start, known, points
    )
    # Maps with the same schedule are run together, the others in turn.
    groups: dict[tuple[float, ...], list[int]] = {}
    for b in maps:
        schedule = sampler.schedule(everything.select([b], alpha_bar))
        groups.setdefault(tuple(schedule.tolist()), []).append(b)
    steps = sum(s > t for schedule in groups for t, s in pairwise(schedule))
    network = Network(denoiser, batch_limit, steps, progress, sampler.self_ensemble)
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for levels, members in groups.items():
        problem = everything.select(members, torch.tensor(levels, dtype=torch.float64))
        samples, log_weights = sampler.sample(network, problem)
        results.update(zip(members, zip(samples, log_weights, strict=True), strict=True))
    samples = torch.stack([results[b][0] for b in maps])
    return FilterResult(samples, torch.log_softmax(torch.stack([results[b][1] for b in maps]), 1))
