"""Fields that are averaged: kriging, constant or log-distance mean, shadows, drift of a pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import curve_fit
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from radiodiff.inverse.field.covariance import Covariance, fit_covariance
from radiodiff.inverse.field.kriging import solve_patches
from radiodiff.inverse.field.samples import Passes, Runs, find_passes
from radiodiff.inverse.field.trend import LogDistance, Mean, fit_trend

NEIGHBOURS = 64
TRACK_NEIGHBOURS = 40
"""Nearest samples of a field with drift; rows of the same pass are added to them."""
TRACK_ROWS = 12
"""Rows before and after a position on its most probable pass that are added."""
OUTLIER = 5.0
"""Standardised residual beyond which a sample is trusted less."""
TREND_FITS, MAX_FITS = 4, 4
"""Fits one after the other, and at most so many after them."""
CHUNK = 65_536
"""Positions solved for at once, to bound memory."""
FLAT = 1e9
"""Correlation length of an unknown local mean, metres."""


@dataclass(frozen=True)
class Samples:
    """The samples merged in the two ways that fields need, with the trust in each."""

    positions: Runs
    """Merged by position."""
    rows: Runs
    """Merged by consecutive rows: keeps the track."""
    factor_tree: cKDTree
    factors: np.ndarray
    """Factor on the noise's variance at the tree's positions, >= 1."""

    def noise_factor(self, runs: Runs) -> np.ndarray:
        """Return (N,) factors of runs that were merged from (a part of) the same samples."""
        return self.factors[self.factor_tree.query(runs.xy)[1]]


@dataclass(frozen=True)
class Candidate:
    """One field: a mean and a covariance of what departs from it."""

    name: str
    mean: Mean
    covariance: Covariance
    pass_width: float = 0.0
    """Width of a pass in median steps, see ``find_passes``; only with a drift."""

    @property
    def on_track(self) -> bool:
        """Whether it needs the rows in the order of the survey."""
        return self.covariance.drift is not None


@dataclass(frozen=True)
class Constant:
    """The same value everywhere, dB."""

    value: float

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """Return (N,) dB at (N, 2) positions."""
        return np.full(len(xy), self.value)


@dataclass(frozen=True)
class Sum:
    """A trend, and a constant on top of it."""

    trend: Mean
    offset: float

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """Return (N,) dB at (N, 2) positions."""
        return self.trend(xy) + self.offset


def predict_candidate(
    candidate: Candidate,
    runs: Runs,
    noise_factor: np.ndarray,
    xy: np.ndarray,
    *,
    patch_m: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the field at positions.

    Args:
        candidate: the field.
        runs: the samples, merged as the candidate needs them.
        noise_factor: (N,) factor on the variance of the noise.
        xy: (Q, 2) metres.
        patch_m: side of the squares whose positions share their neighbours; 0 gives each its own.

    Returns:
        (Q,) mean, dB, and (Q,) variance without noise, dB^2.
    """
    mean, variance = np.empty(len(xy)), np.empty(len(xy))
    covariance = candidate.covariance
    coordinates = covariance.embed(runs.xy, runs.track)
    residual = runs.mean - candidate.mean(runs.xy)
    noise = covariance.nugget * noise_factor / runs.count
    patch = np.arange(len(xy))
    if patch_m > 0:
        squares = np.floor((xy - xy.min(axis=0)) / patch_m).astype(np.int64)
        patch = np.unique(
            squares[:, 0] * (squares[:, 1].max() + 1) + squares[:, 1], return_inverse=True
        )[1].reshape(-1)
    order = np.argsort(patch, kind="stable")
    first = 0
    while first < len(xy):
        last = min(first + CHUNK, len(xy))
        # A patch is not cut: the chunk grows to the end of its last patch.
        last = int(np.searchsorted(patch[order], patch[order[last - 1]], side="right"))
        chosen = order[first:last]
        first = last
        _, begin, inside = np.unique(patch[chosen], return_index=True, return_inverse=True)
        count = np.bincount(inside)
        middle = np.stack([np.bincount(inside, xy[chosen, i]) / count for i in (0, 1)], axis=1)
        passes = None
        if candidate.on_track and len(runs.xy) > 1:
            passes = find_passes(runs, xy[chosen], width=candidate.pass_width)
        neighbours = _neighbours(runs, middle, None if passes is None else passes.row[begin])
        many = 1 if passes is None else passes.track.shape[1]
        track = np.zeros(len(chosen)) if passes is None else passes.track.reshape(-1)
        queries = covariance.embed(np.repeat(xy[chosen], many, axis=0), track)
        start = np.r_[begin, len(chosen)] * many
        m, v = solve_patches(
            coordinates, covariance.component_variances, residual, noise, neighbours, start, queries
        )
        mean[chosen], variance[chosen] = _mix(m, v, passes)
    return mean + candidate.mean(xy), variance


def _neighbours(runs: Runs, middle: np.ndarray, row: np.ndarray | None) -> np.ndarray:
    k = min(NEIGHBOURS if row is None else TRACK_NEIGHBOURS, len(runs.xy))
    near = runs.tree.query(middle, k=k)[1].reshape(len(middle), k)
    if row is None:
        return near
    along = row[:, :1] + np.arange(1 - TRACK_ROWS, 1 + TRACK_ROWS)
    others = [row[:, i : i + 1] + np.arange(-3, 5) for i in range(1, min(2, row.shape[1]))]
    every = np.sort(
        np.clip(np.concatenate([near, along, *others], axis=1), 0, len(runs.xy) - 1), axis=1
    )
    every[:, 1:][every[:, 1:] == every[:, :-1]] = -1
    return every


def _mix(m: np.ndarray, v: np.ndarray, passes: Passes | None) -> tuple[np.ndarray, np.ndarray]:
    if passes is None:
        return m, v
    m, v = m.reshape(passes.weight.shape), v.reshape(passes.weight.shape)
    mean = (passes.weight * m).sum(axis=1)
    return mean, (passes.weight * (v + (m - mean[:, None]) ** 2)).sum(axis=1)


def fit_candidates(
    samples: Samples,
    rng: np.random.Generator,
    covariates: Sequence[Mean] = (),
    step: Callable[[], None] = lambda: None,
) -> tuple[list[Candidate], LogDistance]:
    """Estimate all fields.

    Args:
        samples: the samples.
        rng: source of randomness of the likelihoods' subsets.
        covariates: further means to lay a field around, such as a prior map, dB.
        step: called up to ``TREND_FITS + MAX_FITS`` times, and once for each covariate.

    Returns:
        The fields, and the log-distance trend.
    """
    runs, rows = samples.positions, samples.rows
    factor = samples.noise_factor(runs)
    level = Constant(float(np.average(runs.mean, weights=runs.count)))
    # The matrices are small: threads of BLAS would cost more than they save.
    with threadpool_limits(1, user_api="blas"):
        covariance, offset = fit_covariance(runs, runs.mean - level(runs.xy), factor, rng)
        constant = Sum(level, offset)
        found = [kriging_candidate(runs), Candidate("constant", constant, covariance)]
        step()
        trend = fit_trend(runs, covariance, factor, rng)
        step()
        covariance, _ = fit_covariance(runs, runs.mean - trend(runs.xy), factor, rng)
        step()
        trend = fit_trend(runs, covariance, factor, rng)
        step()
        found.append(Candidate("trend", trend, covariance))
        transmitter = np.array(trend.transmitter)
        fits = [
            _Fit("trend_short", runs, trend, {"scales": 1}),
            _Fit("shadows", runs, trend, {"transmitter": transmitter}),
        ]
        fits += [
            _Fit(f"covariate_{i}", runs, map_, {}, level_is_free=True)
            for i, map_ in enumerate(covariates)
        ]
        if len(rows.xy) >= 30:
            fits += [
                _Fit("pass", rows, constant, {"track": True}, 0.15),
                _Fit("pass_trend", rows, trend, {"track": True}, 0.3),
            ]
        with ThreadPoolExecutor(min(len(fits), os.cpu_count() or 1)) as threads:
            for candidate in threads.map(
                lambda fit, own: fit(samples, own), fits, rng.spawn(len(fits))
            ):
                found.append(candidate)
                step()
    return found, trend


@dataclass(frozen=True)
class _Fit:
    """A candidate whose covariance is still to be estimated."""

    name: str
    runs: Runs
    mean: Mean
    options: dict[str, Any]
    pass_width: float = 0.0
    level_is_free: bool = False
    """Whether the mean is known but for a constant."""

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Candidate:
        rest = self.runs.mean - self.mean(self.runs.xy)
        factor = samples.noise_factor(self.runs)
        covariance, offset = fit_covariance(self.runs, rest, factor, rng, **self.options)
        mean = Sum(self.mean, offset) if self.level_is_free else self.mean
        return Candidate(self.name, mean, covariance, self.pass_width)


def weigh_samples(positions: Runs, rows: Runs) -> Samples:
    """Find outliers by predicting each position from those around it, and trust them less."""
    field = kriging_candidate(positions)
    size = len(positions.xy)
    factors = np.ones(size)
    if size > 3:
        k = min(17, size)
        near = positions.tree.query(positions.xy, k=k)[1].reshape(size, k)
        near = np.where(near == np.arange(size)[:, None], -1, near)
        covariance = field.covariance
        coordinates = covariance.embed(positions.xy, positions.track)
        noise = covariance.nugget / positions.count
        residual = positions.mean - field.mean(positions.xy)
        mean, variance = solve_patches(
            coordinates,
            covariance.component_variances,
            residual,
            noise,
            near,
            np.arange(size + 1),
            coordinates,
        )
        standardised = np.abs(residual - mean) / np.sqrt(variance + noise)
        scale = max(float(np.median(standardised)) / 0.6745, 0.3)
        factors = np.maximum(standardised / scale / OUTLIER, 1.0) ** 4
    return Samples(positions, rows, positions.tree, np.minimum(factors, 1e4))


def kriging_candidate(runs: Runs) -> Candidate:
    """Ordinary kriging: one exponential variogram with nugget, by weighted least squares.

    The variogram is that of up to 3,000 samples, fitted to 18 logarithmic lags up to the median
    distance.
    """
    nugget, sill, length = _fit_variogram(runs)
    mean = Constant(float(np.average(runs.mean, weights=runs.count)))
    covariance = Covariance((length, FLAT), (sill, 100.0 * runs.variance), nugget)
    return Candidate("kriging", mean, covariance)


def _fit_variogram(runs: Runs) -> tuple[float, float, float]:
    rng = np.random.default_rng(1)
    variance = runs.variance
    start = (0.3 * variance, 0.7 * variance, max(runs.extent / 8, 1e-3))
    chosen = np.arange(len(runs.xy))
    if len(chosen) > 2000:
        chosen = rng.choice(len(chosen), 2000, replace=False)
    if len(chosen) < 8:
        return start
    i, j = np.triu_indices(len(chosen), 1)
    i, j = chosen[i], chosen[j]
    distance = np.linalg.norm(runs.xy[i] - runs.xy[j], axis=1)
    # The scatter within positions is a part of the noise of one sample.
    within = runs.scatter / runs.repeats if runs.repeats else None
    excess = np.zeros(len(distance))
    if within is not None:
        excess = 0.5 * within * (2.0 - 1.0 / runs.count[i] - 1.0 / runs.count[j])
    semivariance = 0.5 * (runs.mean[i] - runs.mean[j]) ** 2 + excess
    top = float(np.quantile(distance, 0.5))
    edges = np.r_[0.0, np.geomspace(max(top / 200, 1e-3), max(top, 2e-3), 18)]
    lag = np.digitize(distance, edges) - 1
    inside = lag < 18
    pairs = np.bincount(lag[inside], minlength=18)
    filled = pairs >= 10
    if filled.sum() < 4:
        return start
    h = np.bincount(lag[inside], distance[inside], 18)[filled] / pairs[filled]
    g = np.bincount(lag[inside], semivariance[inside], 18)[filled] / pairs[filled]
    try:
        fitted, _ = curve_fit(
            lambda h, n, s, length: n + s * (1 - np.exp(-h / length)),
            h,
            g,
            p0=(0.3 * variance, 0.7 * variance, top / 4),
            sigma=np.maximum(g, 1e-9) / np.sqrt(pairs[filled]),
            bounds=(
                (1e-3 * variance, 1e-3 * variance, top / 300),
                (2 * variance, 5 * variance, 5 * top),
            ),
            maxfev=20_000,
        )
    except (RuntimeError, ValueError):
        return start
    return float(fitted[0]), float(fitted[1]), float(fitted[2])
