"""What the samplers share: the problem, the particles, and the network applied to them.

Shapes: B maps, M particles, ``dims`` of one map (any number of axes). Levels are ``alpha_bar``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from radiodiff.data.points import PointMeasurements
from radiodiff.errors import InputError
from radiodiff.inverse.resampling import Generators, effective_sample_size, resample
from radiodiff.inverse.settings import Resampling

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(x_t of shape (N, *dims), alpha_bar of shape (N,)) -> the noise in x_t, (N, *dims). Where a level
for every pixel can be given, alpha_bar may also have the shape of x_t."""
Progress = Callable[[int, int], None]
"""(steps done, steps to do) -> None."""


@dataclass(frozen=True)
class Problem:
    """Maps with the same schedule, and what was measured of them."""

    y: Tensor
    """(B, *dims) measured values; anything where nothing was observed."""
    observed: Tensor
    """(B, *dims) bool."""
    noise_std: Tensor
    """(B, *dims) sigma of every value, >= 0."""
    alpha_bar: Tensor
    """(K + 1,) float64 levels, the last one 1. Each is a step; where one falls, noise is added."""
    num_particles: int
    generator: Generators
    """One per map, or one for the whole batch."""
    start: Tensor | None
    """(B, M, *dims) maps to begin from, noised to the first level; None begins from noise."""

    known: Tensor | None = None
    """(B, *dims) bool, pixels that are known and not measured, such as buildings; None leaves it to
    the sampler."""
    points: Sequence[PointMeasurements] | None = None
    """Of every map, between the pixels and besides ``y``."""

    def select(self, maps: Sequence[int], alpha_bar: Tensor) -> Problem:
        """Return some of the maps, to be stepped through other levels."""
        chosen = torch.tensor(maps, device=self.y.device)
        generator = self.generator
        return replace(
            self,
            y=self.y[chosen],
            observed=self.observed[chosen],
            noise_std=self.noise_std[chosen],
            alpha_bar=alpha_bar.to(self.y.device),
            generator=[generator[b] for b in maps] if isinstance(generator, list) else generator,
            start=None if self.start is None else self.start[chosen],
            known=None if self.known is None else self.known[chosen],
            points=None if self.points is None else [self.points[b] for b in maps],
        )

    def normal(self, count: int | None = None) -> Tensor:
        """Draw standard normal noise for ``count`` maps (all particles by default) of each map."""
        shape = (len(self.y), count or self.num_particles, *self.y.shape[1:])
        return randn_tensor(
            shape, generator=self.generator, device=self.y.device, dtype=self.y.dtype
        )

    def begin(self, noise: Tensor) -> Tensor:
        """Return particles at the first level: the noise, or the given maps noised to it."""
        if self.start is None:
            return noise
        start = self.start[:, : noise.shape[1]].to(noise.dtype)
        return diffuse(start, self.alpha_bar[0], noise)

    def noised_again(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Diffuse particles at level t on to the noisier level s."""
        return diffuse(x, s / t, self.normal())

    def equal_weights(self, count: int) -> Tensor:
        """Return the (B, count) float64 logarithms of equal weights."""
        return torch.zeros((len(self.y), count), dtype=torch.float64, device=self.y.device)


@dataclass
class Network:
    """The denoiser applied to (B, M, *dims), in calls of limited size and checked for NaN."""

    denoiser: Denoiser
    batch_limit: int | None
    steps: int
    progress: Progress | None
    self_ensemble: bool = False
    """Show every particle, whose last two axes are rows and columns, in another orientation, and in
    the next one in every step."""
    done: int = 0

    def __call__(self, x: Tensor, level: Tensor, step: int) -> Tensor:
        """Predict the noise.

        Args:
            x: (B, M, *dims).
            level: (), or one for every pixel, broadcastable to ``x``.
            step: index of the step, for the message.

        Raises:
            InputError: the network returned values that are not finite.
        """
        orientations = []
        if self.self_ensemble:
            count = 8 if x.shape[-1] == x.shape[-2] else 4
            orientations = [(m + step) % count for m in range(x.shape[1])]
            x = _each(orient, x, orientations)
            level = _each(orient, level.expand_as(x), orientations) if level.ndim else level
        flat = x.flatten(0, 1)
        chunks = flat.split(self.batch_limit or len(flat))
        if level.ndim == 0:
            levels: Sequence[Tensor] = [level.expand(len(part)) for part in chunks]
        else:
            levels = level.expand_as(x).flatten(0, 1).split(len(chunks[0]))
        eps = torch.cat([self.denoiser(*call) for call in zip(chunks, levels, strict=True)])
        if not torch.isfinite(eps).all():
            noise = float(1.0 / level.min() - 1.0) ** 0.5
            raise InputError(
                f"the prior returned values that are not finite at step {step + 1} (noise level "
                f"{noise:.3g}); check its weights and precision"
            )
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.steps)
        eps = eps.view_as(x).to(x.dtype)
        return _each(orient_back, eps, orientations) if self.self_ensemble else eps


def orient(maps: Tensor, orientation: int) -> Tensor:
    """Flip the columns (bit 1), the rows (bit 2) and then swap the two (bit 4) of (..., H, W)."""
    flipped = maps.flip([-axis for axis in (1, 2) if orientation & axis])
    return flipped.mT if orientation & 4 else flipped


def orient_back(maps: Tensor, orientation: int) -> Tensor:
    """Undo :func:`orient`."""
    maps = maps.mT if orientation & 4 else maps
    return maps.flip([-axis for axis in (1, 2) if orientation & axis])


def _each(
    operation: Callable[[Tensor, int], Tensor], x: Tensor, orientations: Sequence[int]
) -> Tensor:
    """Apply ``operation`` to the particles of (B, M, ..., H, W), each with its orientation."""
    return torch.stack([operation(x[:, m], number) for m, number in enumerate(orientations)], dim=1)


def diffuse(clean: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """Return sqrt(level) clean + sqrt(1 - level) noise, in the dtype of the noise."""
    return level.sqrt().to(noise.dtype) * clean + (1.0 - level).sqrt().to(noise.dtype) * noise


def select(particles: Tensor, parents: Tensor) -> Tensor:
    """Return the particles (B, M, *dims) at the indices (B, N)."""
    index = parents.view(*parents.shape, *[1] * (particles.ndim - 2))
    return particles.gather(1, index.expand(*parents.shape, *particles.shape[2:]))


def resample_if_poor(
    log_weights: Tensor,
    mean: Tensor,
    scheme: Resampling,
    ess_threshold: float,
    generator: Generators,
) -> tuple[Tensor, Tensor]:
    """Draw parents for the maps whose effective sample size fell too low.

    The weights are normalised as in RadioDiff-Inverse, eq. (40).

    Args:
        log_weights: (B, M) float64.
        mean: (B, M, *dims) what every particle is proposed around.
        scheme: how parents are drawn.
        ess_threshold: share of M at which they are drawn, in [0, 1]; 0 never draws.
        generator: source of the draws.

    Returns:
        The weights, equal where parents were drawn, and the means of the parents.
    """
    count = log_weights.shape[1]
    if ess_threshold == 0 or count == 1:
        return log_weights, mean
    # Every map draws, so that its random numbers do not depend on the other maps' weights.
    parents = resample(log_weights, scheme, generator)
    poor = effective_sample_size(log_weights) <= ess_threshold * count
    keep = torch.arange(count, device=parents.device).expand_as(parents)
    parents = torch.where(poor[:, None], parents, keep)
    return torch.where(poor[:, None], 0.0, log_weights), select(mean, parents)
