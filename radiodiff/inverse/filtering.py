"""Particle filtering of a diffusion prior on noisy pixels of a map.

``published`` is RadioDiff-Inverse as printed: the measurement is carried up the diffusion as a
sequence y_t with its own error at every level, and every y_t enters as a likelihood. One
measurement is counted once per step, and the result is pinned to the noisy value.

``matched`` counts it once: y = x_0 + sigma n has the distribution of the diffused map at the level
    tau whose
noise equals sigma. Observed pixels follow y from the top down to tau, or, with a prior that takes a
level for every pixel, they stay at tau; below tau they are free.

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
from radiodiff.inverse.combined import Operator, combined_filter
from radiodiff.inverse.levels import (
    insert_levels,
    measurement_level,
    share_levels,
    with_repaint_jumps,
)
from radiodiff.inverse.matched import fixed_level_filter, noised_filter
from radiodiff.inverse.operators import PixelOperator, PointOperator
from radiodiff.inverse.particles import Denoiser, Network, Problem, Progress
from radiodiff.inverse.published import published_filter
from radiodiff.inverse.resampling import Generators
from radiodiff.inverse.settings import FilterSettings

MAX_INSERTED_LEVELS = 16
"""Distinct measurement levels put into the schedule of one map; each costs a network call."""


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
    settings: FilterSettings,
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
        settings: the method and its options.
        start: (B, M, *dims) maps to begin from, noised to ``alpha_bar[0]``; None begins from noise.
        batch_limit: most maps in one network call; None puts no limit.
        progress: called with the steps done and to do after every step.
        points: of every map, between the pixels and besides ``y``; ``combined`` only.
        known: (B, *dims) bool, pixels that are known and not measured, such as buildings, to which
            ``min_noise_std`` does not apply; None takes those without noise, unless a map has no
            others.

    Returns:
        Samples in the dtype of ``y`` and their normalised weights.

    Raises:
        InputError: the network returned values that are not finite, or ``measurements`` are given
            for another method.
    """
    if points is not None and settings.method != "combined":
        raise InputError(
            f"filter.method is {settings.method!r}; measurements between the pixels need 'combined'"
        )
    maps = range(len(y))
    fixed_level = settings.method == "matched" and settings.noise_path == "fixed_level"
    own_std = noise_std
    if fixed_level:
        known = _known(observed, noise_std) if known is None else known
        raised = noise_std.clamp(min=settings.min_noise_std)
        noise_std = shown_std = torch.where(known, noise_std, raised)
    if settings.method == "matched":
        noise_std = torch.stack(
            [share_levels(noise_std[b], observed[b], MAX_INSERTED_LEVELS) for b in maps]
        )
    # Maps with the same schedule are run together, the others in turn.
    groups: dict[tuple[float, ...], list[int]] = {}
    for b in maps:
        levels = alpha_bar
        if settings.method == "matched":
            own_levels = measurement_level(torch.unique(noise_std[b][observed[b]])).cpu()
            levels = insert_levels(alpha_bar, own_levels)
        levels = with_repaint_jumps(levels, settings.repaint_jumps)
        groups.setdefault(tuple(levels.tolist()), []).append(b)
    steps = sum(s > t for schedule in groups for t, s in pairwise(schedule))
    network = Network(denoiser, batch_limit, steps, progress, settings.self_ensemble)
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for schedule, members in groups.items():
        chosen = torch.tensor(members, device=y.device)
        problem = Problem(
            y[chosen],
            observed[chosen],
            noise_std[chosen],
            torch.tensor(schedule, dtype=torch.float64, device=y.device),
            num_particles,
            [generator[b] for b in members] if isinstance(generator, list) else generator,
            None if start is None else start[chosen],
        )
        if settings.method == "combined":
            pixels = PixelOperator(y[chosen], observed[chosen], noise_std[chosen])
            operator: Operator = pixels
            if points is not None:
                operator = PointOperator([points[b] for b in members], pixels)
            samples, log_weights = combined_filter(network, problem, settings, operator)
        elif settings.method == "published":
            samples, log_weights = published_filter(network, problem, settings)
        elif fixed_level:
            samples, log_weights = fixed_level_filter(network, problem, settings)
        else:
            samples, log_weights = noised_filter(network, problem, settings)
        results.update(zip(members, zip(samples, log_weights, strict=True), strict=True))
    samples = torch.stack([results[b][0] for b in maps])
    if fixed_level:
        cleaner = observed & (own_std < shown_std)
        share = torch.where(cleaner, own_std**2 / (own_std**2 + shown_std**2), 1.0)[:, None]
        samples = torch.where(cleaner[:, None], y[:, None].lerp(samples, share), samples)
    return FilterResult(samples, torch.log_softmax(torch.stack([results[b][1] for b in maps]), 1))


def _known(observed: Tensor, noise_std: Tensor) -> Tensor:
    exact = observed & (noise_std == 0)
    measured = (observed & ~exact).flatten(1).any(dim=1)
    return exact & measured.view(-1, *[1] * (exact.ndim - 1))
