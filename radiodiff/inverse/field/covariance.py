"""Covariance of a received-power field, estimated by restricted marginal likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from radiodiff.inverse.field.samples import Runs

STEPS = 40
LEARNING_RATE = 0.12
DRIFT_ROWS = 8.0
"""Prior median of the drift's correlation length along the track, rows."""
DRIFT_SHARE = 1 / 12
"""Distance over which the drift of a pass is lost, share of the survey's extent."""
JITTER = 1e-6


@dataclass(frozen=True)
class Covariance:
    """Sum of exponential covariances and white noise.

    Spatial components with their own lengths describe shadowing (fading over metres, buildings over
    tens of metres); the drift is common to consecutive rows of a pass; the shadow component is
    correlated in the angle and the logarithm of the distance as seen from the transmitter, as
    shadows of obstacles are.
    """

    lengths: tuple[float, ...]
    """Correlation lengths of the spatial components, metres."""
    variances: tuple[float, ...]
    """Their variances, dB^2."""
    nugget: float
    """Variance of the noise of one row, dB^2."""
    drift: tuple[float, float, float] | None = None
    """Variance (dB^2), rows and metres of the drift of a pass."""
    shadow: tuple[float, float, float] | None = None
    """Variance (dB^2), angle (rad) and logarithm of distance of the radial shadows."""
    transmitter: tuple[float, float] = (0.0, 0.0)
    """x and y that the shadows radiate from, metres."""

    @property
    def component_variances(self) -> np.ndarray:
        """(C,) variance of every component, dB^2; the drift's is the last."""
        shadow = [] if self.shadow is None else [self.shadow[0]]
        drift = [] if self.drift is None else [self.drift[0]]
        return np.array([*self.variances, *shadow, *drift])

    def embed(self, xy: np.ndarray, track: np.ndarray) -> np.ndarray:
        """Place points in the components' coordinates, in correlation lengths.

        Args:
            xy: (N, 2) metres.
            track: (N,) coordinate along the track.

        Returns:
            (N, C, 3).
        """
        parts = [np.c_[xy / length, np.zeros(len(xy))] for length in self.lengths]
        if self.shadow is not None:
            polar = _polar(xy, np.array(self.transmitter))
            _, angle, log_distance = self.shadow
            parts.append(polar / np.array([angle, angle, log_distance]))
        if self.drift is not None:
            _, rows, metres = self.drift
            parts.append(np.c_[xy / metres, track / rows])
        return np.ascontiguousarray(np.stack(parts, axis=1))


def _polar(xy: np.ndarray, transmitter: np.ndarray) -> np.ndarray:
    """(N, 3): unit vector from the transmitter and logarithm of the distance."""
    away = xy - transmitter
    distance = np.sqrt((away**2).sum(axis=1) + 1e-6)
    return np.c_[away / distance[:, None], np.log(distance)]


def choose_subset(runs: Runs, number: int, rng: np.random.Generator, *, track: bool) -> np.ndarray:
    """Choose samples for the likelihood so that short distances are represented.

    Args:
        runs: the samples.
        number: how many at most.
        rng: source of randomness.
        track: whether short distances along the track are represented, too.

    Returns:
        (M,) indices, sorted.
    """
    size = len(runs.xy)
    if size <= number:
        return np.arange(size)
    seeds = rng.choice(size, number // (6 if track else 3), replace=False)
    near = runs.tree.query(runs.xy[seeds], k=4)[1]
    near = near[np.arange(len(seeds)), rng.integers(1, 4, len(seeds))]
    others = rng.choice(size, len(seeds), replace=False)
    chosen = [seeds, near, others]
    if track:
        chosen += [seeds + 1, seeds + 3, seeds + 12]
    return np.unique(np.clip(np.concatenate(chosen), 0, size - 1))


def fit_covariance(
    runs: Runs,
    residual: np.ndarray,
    noise_factor: np.ndarray,
    rng: np.random.Generator,
    *,
    scales: int = 2,
    track: bool = False,
    transmitter: np.ndarray | None = None,
    max_samples: int = 360,
) -> tuple[Covariance, float]:
    """Estimate a covariance by the restricted likelihood of a constant mean.

    The parameters have log-normal priors around values that the survey's spacing, extent and
    variance suggest, wide (factors of 2.7 to 4.5) but enough for a survey of a few samples.

    Args:
        runs: the samples.
        residual: (N,) values minus the trend, dB.
        noise_factor: (N,) factor on the variance of the noise.
        rng: source of randomness of the subset.
        scales: number of spatial components.
        track: whether a drift along the track is estimated.
        transmitter: (2,) metres, adds shadows that radiate from there.
        max_samples: samples in the likelihood; time grows with the cube.

    Returns:
        The covariance and the mean of the residual, dB.
    """
    chosen = choose_subset(runs, max_samples, rng, track=track)
    xy, weight = runs.xy[chosen], runs.count[chosen] / noise_factor[chosen]
    values = torch.as_tensor(residual[chosen], dtype=torch.float64)
    variance = max(float(np.var(residual)), 1e-3)
    lengths = np.geomspace(
        max(3 * runs.spacing, runs.extent / 100), max(runs.extent / 6, 6 * runs.spacing), scales
    )
    squares = [_squared_distance(xy)] * scales
    start = [math.log(length) for length in lengths]
    start += [math.log(0.4 * variance / scales)] * scales + [math.log(0.2 * variance)]
    spread = [1.0] * scales + [1.5] * scales + [1.5]
    shadow_at = len(start)
    if transmitter is not None:
        polar = _polar(xy, transmitter)
        angle2, log2 = _squared_distance(polar[:, :2]), _squared_distance(polar[:, 2:])
        start += [math.log(0.3 * variance), math.log(0.4), math.log(0.7)]
        spread += [1.5, 0.7, 0.7]
    drift_at = len(start)
    metres = DRIFT_SHARE * runs.extent
    if track:
        track2 = _squared_distance(runs.track[chosen, None])
        drift2 = _squared_distance(xy) / metres**2
        start += [math.log(0.15 * variance), math.log(DRIFT_ROWS)]
        spread += [1.5, 0.7]
    centre = torch.tensor(start, dtype=torch.float64)
    deviation = torch.tensor(spread, dtype=torch.float64)
    raw = centre.clone().requires_grad_(True)
    inverse_weight = torch.as_tensor(1.0 / weight, dtype=torch.float64)
    repeats = runs.repeats * len(chosen) / len(runs.xy)
    both = torch.stack([values, torch.ones_like(values)], dim=1)
    optimiser = torch.optim.Adam([raw], lr=LEARNING_RATE)
    offset = 0.0
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - 0.9 * step / STEPS)
        p = raw.exp()
        nugget = p[2 * scales]
        matrix = torch.diag(nugget * inverse_weight + JITTER * variance)
        for s in range(scales):
            matrix = matrix + p[scales + s] * torch.exp(-squares[s].sqrt() / p[s])
        if transmitter is not None:
            v, angle, log_distance = p[shadow_at : shadow_at + 3]
            matrix = matrix + v * torch.exp(
                -(angle2 / angle**2 + log2 / log_distance**2 + 1e-12).sqrt()
            )
        if track:
            v, rows = p[drift_at : drift_at + 2]
            matrix = matrix + v * torch.exp(-(track2 / rows**2 + drift2 + 1e-12).sqrt())
        factor = torch.linalg.cholesky(matrix)
        white = torch.linalg.solve_triangular(factor, both, upper=False)
        information = white[:, 1] @ white[:, 1]
        projected = white[:, 0] @ white[:, 1]
        loss = 0.5 * (white[:, 0] @ white[:, 0] - projected**2 / information)
        loss = loss + torch.log(torch.diagonal(factor)).sum() + 0.5 * torch.log(information)
        if repeats > 0:
            loss = loss + 0.5 * repeats * (raw[2 * scales] + runs.scatter / runs.repeats / nugget)
        loss = loss + 0.5 * (((raw - centre) / deviation) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        offset = float((projected / information).detach())
    fitted = raw.detach().exp().tolist()
    return (
        Covariance(
            lengths=tuple(fitted[:scales]),
            variances=tuple(fitted[scales : 2 * scales]),
            nugget=fitted[2 * scales],
            shadow=None
            if transmitter is None
            else (fitted[shadow_at], fitted[shadow_at + 1], fitted[shadow_at + 2]),
            transmitter=(0.0, 0.0)
            if transmitter is None
            else (float(transmitter[0]), float(transmitter[1])),
            drift=(fitted[drift_at], fitted[drift_at + 1], metres) if track else None,
        ),
        offset,
    )


def _squared_distance(points: np.ndarray) -> torch.Tensor:
    """(N, N) squared distances, dB-free."""
    difference = torch.as_tensor(points[:, None] - points[None], dtype=torch.float64)
    return (difference**2).sum(-1)
