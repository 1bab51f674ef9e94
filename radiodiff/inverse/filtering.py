"""Particle filtering of a diffusion prior on noisy pixels of a map.

``published`` is RadioDiff-Inverse as printed: the measurement is carried up the diffusion as a
sequence y_t with its own error at every level, and every y_t enters as a likelihood, eqs. (26) to
(41). One measurement is counted once per step, and the result is pinned to the noisy value.

``matched`` counts it once: y = x_0 + sigma n has the law of the diffused map at the level tau whose
noise equals sigma, so observed pixels follow y from the top down to tau and are free below it.

Shapes: B maps, M particles, ``dims`` of one map (any number of axes). Levels are ``alpha_bar``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from diffusers.utils.torch_utils import randn_tensor
from pydantic import Field, model_validator
from torch import Tensor

from radiodiff.config import Settings
from radiodiff.errors import InputError
from radiodiff.inverse.levels import Spacing, insert_levels, measurement_level, share_levels
from radiodiff.inverse.resampling import Generators, Resampling, effective_sample_size, resample
from radiodiff.inverse.transitions import (
    conditional_step,
    log_likelihood,
    measurement_step,
    predict_clean,
    prior_step,
    stochastic_share,
)

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (N, *dims), alpha_bar of shape (N,)) -> the noise in x_t, (N, *dims)."""
Progress = Callable[[int, int], None]
"""(steps done, steps to do) -> None."""

MAX_INSERTED_LEVELS = 16
"""Distinct measurement levels put into the schedule of one map; each costs a network call."""


class FilterSettings(Settings):
    """How the posterior is sampled."""

    method: Literal["published", "matched"] = "matched"
    """``published``: likelihood at every level, as in the paper; ``matched``: at its own level."""
    proposal: Literal["conditional", "prior"] = "conditional"
    """``published`` only. ``conditional``: the closed-form Gaussian of eq. (34); ``prior``: M
    candidates from eq. (35), one kept by eq. (40), hence a single sample."""
    noise_path: Literal["shared", "fresh"] = "fresh"
    """``matched`` only. ``shared``: one noisy path of the measurements, followed with weights,
    exact in the limit of many particles; ``fresh``: new noise on the measurements at every level
    and for every particle, without weights, more robust to an imperfect prior."""
    stochasticity: Literal["ddpm"] | float = 1.0
    """Share c of fresh noise in a prior step, in [0, 1]; ``ddpm``: the posterior variance."""
    spacing: Spacing = "uniform"
    """Levels stepped through, see :func:`radiodiff.inverse.levels.choose_levels`."""
    resampling: Resampling = "systematic"
    """How parents are drawn; ``none`` keeps every particle with its weight."""
    ess_threshold: float = Field(default=0.5, gt=0, le=1)
    """Resample when the effective sample size is at most this share of M."""
    clip: bool = True
    """Limit the estimate of the clean map to [-1, 1]."""

    @model_validator(mode="after")
    def _check(self) -> FilterSettings:
        c = self.stochasticity
        if not isinstance(c, str) and not 0.0 <= c <= 1.0:
            raise ValueError(f"stochasticity is {c!r}; allowed are 'ddpm' and numbers in [0, 1]")
        return self


CALIBRATED = FilterSettings(noise_path="shared", stochasticity="ddpm", spacing="log_snr")
"""Settings whose samples have the posterior's spread in the limit of many particles and steps; the
defaults of :class:`FilterSettings` aim at the mean map with an imperfect prior."""


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

    Returns:
        Samples in the dtype of ``y`` and their normalised weights.

    Raises:
        InputError: the network returned values that are not finite.
    """
    maps = range(len(y))
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
        groups.setdefault(tuple(levels.tolist()), []).append(b)
    run = _matched if settings.method == "matched" else _published
    steps = sum(len(schedule) - 1 for schedule in groups)
    network = _Network(denoiser, batch_limit, steps, progress)
    results: dict[int, tuple[Tensor, Tensor]] = {}
    for schedule, members in groups.items():
        own = [generator[b] for b in members] if isinstance(generator, list) else generator
        levels = torch.tensor(schedule, dtype=torch.float64, device=y.device)
        chosen = torch.tensor(members, device=y.device)
        samples, log_weights = run(
            network,
            y[chosen],
            observed[chosen],
            noise_std[chosen],
            levels,
            num_particles,
            own,
            settings,
            None if start is None else start[chosen],
        )
        results.update(zip(members, zip(samples, log_weights, strict=True), strict=True))
    samples = torch.stack([results[b][0] for b in maps])
    return FilterResult(samples, torch.log_softmax(torch.stack([results[b][1] for b in maps]), 1))


@dataclass
class _Network:
    """The denoiser applied to (B, M, *dims), in calls of limited size and checked for NaN."""

    denoiser: Denoiser
    batch_limit: int | None
    steps: int
    progress: Progress | None
    done: int = 0

    def __call__(self, x: Tensor, level: Tensor, step: int) -> Tensor:
        flat = x.flatten(0, 1)
        chunks = flat.split(self.batch_limit or len(flat))
        eps = torch.cat([self.denoiser(part, level.expand(len(part))) for part in chunks])
        if not torch.isfinite(eps).all():
            raise InputError(
                f"the prior returned values that are not finite at step {step + 1} (noise level "
                f"{float((1 - level) / level) ** 0.5:.3g}); check its weights and precision"
            )
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.steps)
        return eps.view_as(x).to(x.dtype)


def _normal(shape: tuple[int, ...], generator: Generators, like: Tensor) -> Tensor:
    return randn_tensor(shape, generator=generator, device=like.device, dtype=like.dtype)


def _diffuse(clean: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    return level.sqrt().to(noise.dtype) * clean + (1.0 - level).sqrt().to(noise.dtype) * noise


def _begin(start: Tensor | None, level: Tensor, noise: Tensor) -> Tensor:
    """Particles at the first level: noise, or given maps noised to it."""
    if start is None:
        return noise
    return _diffuse(start.to(noise.dtype), level, noise)


def _select(particles: Tensor, parents: Tensor) -> Tensor:
    index = parents.view(*parents.shape, *[1] * (particles.ndim - 2))
    index = index.expand(*parents.shape, *particles.shape[2:])
    return particles.gather(1, index)


def _resample_if_poor(
    log_weights: Tensor, mean: Tensor, settings: FilterSettings, generator: Generators
) -> tuple[Tensor, Tensor]:
    """Draw parents for the maps whose effective sample size fell too low, eq. (40)."""
    count = log_weights.shape[1]
    if settings.resampling == "none" or count == 1:
        return log_weights, mean
    # Every map draws, so that its random numbers do not depend on the other maps' weights.
    parents = resample(log_weights, settings.resampling, generator)
    poor = effective_sample_size(log_weights) <= settings.ess_threshold * count
    keep = torch.arange(count, device=parents.device).expand_as(parents)
    parents = torch.where(poor[:, None], parents, keep)
    return torch.where(poor[:, None], 0.0, log_weights), _select(mean, parents)


def _matched(
    network: _Network,
    y: Tensor,
    observed: Tensor,
    noise_std: Tensor,
    alpha_bar: Tensor,
    num_particles: int,
    generator: Generators,
    settings: FilterSettings,
    start: Tensor | None,
) -> tuple[Tensor, Tensor]:
    dtype = y.dtype
    shape = (y.shape[0], num_particles, *y.shape[1:])
    abar_tau = measurement_level(noise_std)
    shared = settings.noise_path == "shared"
    y_tau = abar_tau.sqrt().to(dtype) * y
    path_shape = (y.shape[0], 1, *y.shape[1:]) if shared else shape

    def relative(level: Tensor) -> Tensor:
        """Level seen from tau, at most 1, for every pixel, float64."""
        return (level / abar_tau).clamp(max=1.0)[:, None]

    def entered(level: Tensor) -> Tensor:
        """Pixels whose measurement is as noisy as the level or less."""
        return (observed & (abar_tau >= level))[:, None]

    y_tau = y_tau[:, None]
    y_t = _diffuse(y_tau, relative(alpha_bar[0]), _normal(path_shape, generator, y))
    x = _begin(start, alpha_bar[0].to(dtype), _normal(shape, generator, y))
    x = torch.where(entered(alpha_bar[0]), y_t, x)
    log_weights = torch.zeros(shape[:2], dtype=torch.float64, device=y.device)

    for k, (t, s) in enumerate(pairwise(alpha_bar)):
        # 1. Step the prior.
        eps = network(x, t, k)
        x_0 = predict_clean(x, eps, t.to(dtype), settings.clip)
        c = stochastic_share(settings.stochasticity, t, s)
        mean, variance = prior_step(x_0, eps, s.to(dtype), c.to(dtype))
        # 2. Step the measurements: along one path, or anew at every level.
        a_t, a_s, now = relative(t), relative(s), entered(s)
        noise = _normal(path_shape, generator, y)
        if shared:
            # The path has its own share of fresh noise, whatever the prior's. At tau a_t is 1.
            a_t = a_t.clamp(max=1.0 - 1e-12)
            y_s = measurement_step(
                y_t, y_tau, a_t, a_s, stochastic_share("ddpm", a_t, a_s.clamp(min=a_t)), noise
            ).to(dtype)
            # 3. Weigh parents by what they predict of the measurements, and draw the good ones.
            if variance > 0:
                log_weights = log_weights + log_likelihood(y_s, mean, variance, now)
                log_weights, mean = _resample_if_poor(log_weights, mean, settings, generator)
            y_t = y_s
        else:
            y_s = _diffuse(y_tau, a_s, noise)
        # 4. Propose; observed pixels are the measurements themselves.
        x = torch.where(now, y_s, mean + variance.sqrt() * _normal(shape, generator, y))
    return x, log_weights


def _published(
    network: _Network,
    y: Tensor,
    observed: Tensor,
    noise_std: Tensor,
    alpha_bar: Tensor,
    num_particles: int,
    generator: Generators,
    settings: FilterSettings,
    start: Tensor | None,
) -> tuple[Tensor, Tensor]:
    dtype = y.dtype
    candidates = settings.proposal == "prior"
    kept = 1 if candidates else num_particles
    y_0, seen = y[:, None], observed[:, None]
    sigma2 = torch.where(observed, noise_std.to(dtype).square(), torch.inf)[:, None]
    if start is not None:
        start = start[:, :kept]
    path_shape = (y.shape[0], 1, *y.shape[1:])
    shape = (y.shape[0], num_particles, *y.shape[1:])

    # y_N ~ N(0, A A^T); carried on from a later level it is y_0 diffused to it.
    top = alpha_bar[0].to(dtype)
    y_t = _begin(None if start is None else y_0, top, _normal(path_shape, generator, y))
    # eqs. (30), (31)
    x = _begin(start, top, _normal((y.shape[0], kept, *y.shape[1:]), generator, y))
    if start is None:
        mean, variance = conditional_step(
            torch.zeros_like(x), torch.ones_like(top), y_t, top * sigma2
        )
        x = mean + variance.sqrt() * x
    log_weights = torch.zeros((y.shape[0], kept), dtype=torch.float64, device=y.device)

    for k, (t, s) in enumerate(pairwise(alpha_bar)):
        eps = network(x, t, k)
        x_0 = predict_clean(x, eps, t.to(dtype), settings.clip)
        c = stochastic_share(settings.stochasticity, t, s).to(dtype)
        s_, t_ = s.to(dtype), t.to(dtype)
        mean, variance = prior_step(x_0, eps, s_, c)
        # eq. (29); the likelihood of y_s has variance abar_s sigma^2, eq. (32)
        y_t = measurement_step(y_t, y_0, t_, s_, c, _normal(path_shape, generator, y))
        noise = _normal(shape, generator, y)
        if candidates:
            x = _candidate_step(mean, variance, y_t, seen, s_ * sigma2, noise, generator)
            continue
        if variance > 0:
            log_weights = log_weights + log_likelihood(y_t, mean, variance + s_ * sigma2, seen)
            log_weights, mean = _resample_if_poor(log_weights, mean, settings, generator)
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
    """Draw M candidates from the prior's step and keep one, eqs. (35)-(41) as printed.

    The printed weight holds the density of the proposal as well, which the draw itself has already
    accounted for. In eq. (37) sigma_t is read as the measurement's sigma, as in eqs. (31) and (32).
    """
    x = mean + variance.sqrt() * noise
    everywhere = torch.ones_like(observed)
    log_weights = torch.zeros(x.shape[:2], dtype=torch.float64, device=x.device)
    if variance > 0:
        log_weights = log_likelihood(x, mean, variance, everywhere)
    certain = likelihood_variance.clamp(min=torch.finfo(x.dtype).tiny)
    log_weights = log_weights + log_likelihood(y_s, x, certain, observed)
    chosen = resample(log_weights, "multinomial", generator)[:, :1]
    return _select(x, chosen)
