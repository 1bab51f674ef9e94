"""Covariance of a received-power field, estimated by restricted marginal likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize

from radiodiff.inverse.field.samples import Runs

IMPOSSIBLE = 1e30
"""Negative log-likelihood of parameters whose matrix cannot be factored."""
STEPS = 40
"""Evaluations of the likelihood."""
LIKELIHOOD_SAMPLES = 720
"""Samples in a likelihood, whose time grows with their cube. Chosen on six public surveys
(docs/findings/surveys.md): half as many make the estimates depend on the draw.
"""
MAX_DEVIATIONS = 7.0
"""Bounds of the logarithms of the parameters around their prior medians."""
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
    max_samples: int = LIKELIHOOD_SAMPLES,
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
    values = residual[chosen]
    variance = max(float(np.var(residual)), 1e-3)
    lengths = np.geomspace(
        max(3 * runs.spacing, runs.extent / 100), max(runs.extent / 6, 6 * runs.spacing), scales
    )
    # Parameters are logarithms: lengths, variances, nugget, then those of shadow or drift.
    start = [*np.log(lengths), *[math.log(0.4 * variance / scales)] * scales]
    start.append(math.log(0.2 * variance))
    spread = [1.0] * scales + [1.5] * scales + [1.5]
    distance = np.sqrt(_squared_distance(xy))
    parts = [_Part(scales + s, ((s, distance**2),), 0.0) for s in range(scales)]
    extra = len(start)
    metres = DRIFT_SHARE * runs.extent
    if transmitter is not None:
        polar = _polar(xy, transmitter)
        angle, log_distance = _squared_distance(polar[:, :2]), _squared_distance(polar[:, 2:])
        start += [math.log(0.3 * variance), math.log(0.4), math.log(0.7)]
        spread += [1.5, 0.7, 0.7]
        parts.append(_Part(extra, ((extra + 1, angle), (extra + 2, log_distance)), 0.0))
    drift_at = len(start)
    if track:
        rows = _squared_distance(runs.track[chosen, None])
        start += [math.log(0.15 * variance), math.log(DRIFT_ROWS)]
        spread += [1.5, 0.7]
        parts.append(_Part(drift_at, ((drift_at + 1, rows),), (distance / metres) ** 2))
    centre, deviation = np.array(start), np.array(spread)
    repeats = runs.repeats * len(chosen) / len(runs.xy)
    scatter = runs.scatter / runs.repeats if runs.repeats else 0.0

    def loss(raw: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient, _ = _negative_likelihood(
            raw, values, 1.0 / weight, parts, 2 * scales, JITTER * variance
        )
        away = (raw - centre) / deviation
        within = scatter / math.exp(raw[2 * scales])
        value += 0.5 * float(away @ away) + 0.5 * repeats * (raw[2 * scales] + within)
        gradient += away / deviation
        gradient[2 * scales] += 0.5 * repeats * (1.0 - within)
        return value, gradient

    bounds = list(zip(centre - MAX_DEVIATIONS, centre + MAX_DEVIATIONS, strict=True))
    found = minimize(
        loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxfun": STEPS}
    ).x
    offset = _negative_likelihood(
        found, values, 1.0 / weight, parts, 2 * scales, JITTER * variance
    )[2]
    fitted = np.exp(found).tolist()
    return (
        Covariance(
            lengths=tuple(fitted[:scales]),
            variances=tuple(fitted[scales : 2 * scales]),
            nugget=fitted[2 * scales],
            shadow=None
            if transmitter is None
            else (fitted[extra], fitted[extra + 1], fitted[extra + 2]),
            transmitter=(0.0, 0.0)
            if transmitter is None
            else (float(transmitter[0]), float(transmitter[1])),
            drift=(fitted[drift_at], fitted[drift_at + 1], metres) if track else None,
        ),
        offset,
    )


@dataclass(frozen=True)
class _Part:
    """A component variance * exp(-distance) of a covariance under estimation."""

    variance: int
    """Which parameter is the logarithm of its variance."""
    axes: tuple[tuple[int, np.ndarray], ...]
    """Which parameter is the logarithm of a length, and (N, N) squared distances along it."""
    fixed: np.ndarray | float
    """(N, N) squared distances in lengths that are not estimated."""


def _negative_likelihood(
    raw: np.ndarray,
    values: np.ndarray,
    noise: np.ndarray,
    parts: list[_Part],
    nugget: int,
    jitter: float,
) -> tuple[float, np.ndarray, float]:
    """Negative logarithm of the restricted likelihood, its gradient, and the estimated mean.

    The gradient is tr(P dK) / 2 - (P y)' dK (P y) / 2, where P projects the mean out (Patterson
    and Thompson, 1971).
    """
    parameters = np.exp(raw)
    matrix = np.diag(parameters[nugget] * noise + jitter)
    covariances = []
    for part in parts:
        squared = part.fixed + sum(axis / parameters[at] ** 2 for at, axis in part.axes)
        distance = np.sqrt(squared)
        covariance = parameters[part.variance] * np.exp(-distance)
        matrix += covariance
        covariances.append((distance, covariance))
    factor, failed = lapack.dpotrf(matrix, lower=1)
    if failed:  # not positive definite by rounding: the search steps back
        return IMPOSSIBLE, np.zeros(len(raw)), 0.0
    inverse, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    ones = inverse.sum(axis=1)
    information = float(ones.sum())
    offset = float(ones @ values) / information
    projected = inverse @ (values - offset)
    value = 0.5 * float(values @ projected) + float(np.log(np.diag(factor)).sum())
    value += 0.5 * math.log(information)
    slope = 0.5 * (inverse - np.outer(ones, ones) / information - np.outer(projected, projected))
    gradient = np.zeros(len(raw))
    gradient[nugget] = parameters[nugget] * float(np.diag(slope) @ noise)
    for part, (distance, covariance) in zip(parts, covariances, strict=True):
        weighted = slope * covariance
        gradient[part.variance] = weighted.sum()
        weighted /= np.maximum(distance, 1e-12)
        for at, axis in part.axes:
            gradient[at] = np.vdot(weighted, axis) / parameters[at] ** 2
    return value, gradient, offset


def _squared_distance(points: np.ndarray) -> np.ndarray:
    """(N, N) squared distances."""
    return ((points[:, None] - points[None]) ** 2).sum(axis=-1)
