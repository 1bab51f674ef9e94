"""The field of a survey: fit, prediction with intervals, and scores of left-out samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from scipy.stats import t as student

from radiodiff.errors import InputError
from radiodiff.inverse.field.candidates import (
    MAX_FITS,
    TREND_FITS,
    Candidate,
    Constant,
    Samples,
    fit_candidates,
    weigh_samples,
)
from radiodiff.inverse.field.covariance import Covariance
from radiodiff.inverse.field.samples import merge_positions, merge_rows
from radiodiff.inverse.field.trend import LogDistance, Mean
from radiodiff.inverse.field.validation import (
    FOLDS,
    NORMAL_Q95,
    Average,
    fit_average,
    leave_out,
    predict_all,
)

PATCH_POSITIONS = 16
"""Positions that share their neighbours where many are predicted."""
MANY = 20_000
MIN_WEIGHT = 0.08
"""A candidate that has less weight at every distance is left out: maps take less time."""
MIN_SAMPLES = 12
"""Fewer samples are not cross-validated."""
PRIOR_STD = 8.0
"""Spread expected of few samples, dB: shadowing has 4 to 10 dB."""
PRIOR_SAMPLES = 2
"""Samples that the expectation counts as much as."""


@dataclass(frozen=True)
class FieldPrediction:
    """Predicted samples: what a receiver would have measured, noise included; all (Q,), dB."""

    mean: np.ndarray
    std: np.ndarray
    q05: np.ndarray
    q95: np.ndarray
    distance: np.ndarray
    """To the nearest sample, metres."""
    map_std: np.ndarray
    """Standard deviation of the map, the noise of a sample left out."""


@dataclass(frozen=True)
class CrossValidation:
    """Scores of samples left out at random and in squares of three sizes."""

    samples: int
    rmse_db: tuple[float, float]
    """Root mean square error: at random, in squares."""
    kriging_rmse_db: tuple[float, float]
    coverage90: tuple[float, float]
    """Share of samples within q05 .. q95."""
    kriging_coverage90: tuple[float, float]
    weights: dict[str, tuple[float, float]]
    """Mean weight of each candidate, at random and in squares."""

    @property
    def kriging_as_good(self) -> bool:
        """Whether kriging's error is at most 1 % above the field's, both ways."""
        pairs = zip(self.rmse_db, self.kriging_rmse_db, strict=True)
        return all(kriging <= 1.01 * field for field, kriging in pairs)


@dataclass(frozen=True)
class Field:
    """A fitted field."""

    samples: Samples
    candidates: list[Candidate]
    average: Average
    trend: LogDistance | None
    nugget: float
    """Variance of the noise of one sample, dB^2: of the candidates, averaged with their weights."""
    validation: CrossValidation | None
    """None where there are too few samples."""

    def predict(self, xy: np.ndarray) -> FieldPrediction:
        """Predict samples at positions.

        Time grows with the number of positions, memory does not beyond a chunk of them. If there
        are more than ``MANY``, positions in one patch share their neighbours.

        Args:
            xy: (Q, 2) metres.
        """
        xy = np.ascontiguousarray(xy, dtype=np.float64)
        patch_m = 0.0
        if len(xy) > MANY:
            area = float(np.prod(np.ptp(xy, axis=0)))
            patch_m = float(np.sqrt(PATCH_POSITIONS * area / len(xy)))
        mean, variance = predict_all(
            self.candidates, self.samples, self.samples.positions, self.samples.rows, xy, patch_m
        )
        distance = self.samples.positions.tree.query(xy)[0]
        average, std = self.average.combine(mean, variance, distance)
        scale, low, high = self.average.calibration(distance)
        noise = self.average.weights(distance) @ _nuggets(self.candidates)
        return FieldPrediction(
            mean=average,
            std=scale * std,
            q05=average + low * std,
            q95=average + high * std,
            distance=distance,
            map_std=scale * np.sqrt(np.maximum(std**2 - noise, 0.0)),
        )


def fit_field(
    xy: np.ndarray,
    values: np.ndarray,
    *,
    covariates: Sequence[Mean] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Field:
    """Fit a field to the samples of a survey.

    Several fields are estimated (constant mean, log-distance trend around a transmitter that is
    sought, shadows that radiate from it, drift of a pass along the rows, ordinary kriging) and
    averaged with weights that cross-validation on the samples finds, as a function of the distance
    to the nearest sample; the same residuals calibrate the intervals.

    Args:
        xy: (N, 2) metres, in the order in which they were measured where that is known.
        values: (N,) dB or dBm.
        covariates: maps to lay a further field around each, (N, 2) metres -> (N,) dB.
        seed: of the likelihoods' subsets and of the folds.
        progress: called with the steps done and to do; there may be fewer. None calls nothing.

    Raises:
        InputError: there is no sample, or one is not finite.
    """
    xy = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    values = np.asarray(values, dtype=np.float64)
    if len(xy) == 0 or len(xy) != len(values):
        raise InputError(f"field: {len(xy)} positions and {len(values)} values, expected N >= 1")
    if not (np.isfinite(xy).all() and np.isfinite(values).all()):
        raise InputError("field: positions and values must be finite")
    rng = np.random.default_rng(seed)
    positions, rows = merge_positions(xy, values), merge_rows(xy, values)
    if len(positions.xy) < 3:
        return _flat(xy, values)
    steps, total = count(1), TREND_FITS + MAX_FITS + len(covariates) + FOLDS

    def step() -> None:
        if progress is not None:
            progress(next(steps), total)

    samples = weigh_samples(positions, rows)
    candidates, trend = fit_candidates(samples, rng, covariates, step)
    spacing, extent = positions.spacing, positions.extent
    if len(values) < MIN_SAMPLES:
        kept = candidates[:3]
        nugget = float(_nuggets(kept).mean())
        average = _equal(len(kept), spacing, extent, _few_samples_width(values))
        return Field(samples, kept, average, trend, nugget, None)
    found = leave_out(xy, values, samples, candidates, rng, step=step)
    average = fit_average(found, spacing, extent)
    heavy = average.weights(found.distance).max(axis=0) >= MIN_WEIGHT
    heavy[0] = True  # kriging is compared with
    if not heavy.all():
        candidates = [c for c, kept in zip(candidates, heavy, strict=True) if kept]
        found = replace(found, mean=found.mean[:, heavy], variance=found.variance[:, heavy])
        average = fit_average(found, spacing, extent)
    weights = average.weights(found.distance)
    mean, std = average.combine(found.mean, found.variance, found.distance)
    _, low, high = average.calibration(found.distance)
    error = mean - found.value
    inside = (found.value >= mean + low * std) & (found.value <= mean + high * std)
    kriging_error = found.mean[:, 0] - found.value
    kriging_inside = np.abs(kriging_error) <= NORMAL_Q95 * np.sqrt(found.variance[:, 0])
    parts = (found.random, ~found.random)

    def both(values: np.ndarray) -> tuple[float, float]:
        first, second = (float(values[part].mean()) for part in parts)
        return first, second

    def root(values: np.ndarray) -> tuple[float, float]:
        first, second = both(values**2)
        return first**0.5, second**0.5

    validation = CrossValidation(
        samples=len(found.value),
        rmse_db=root(error),
        kriging_rmse_db=root(kriging_error),
        coverage90=both(inside),
        kriging_coverage90=both(kriging_inside),
        weights={c.name: both(weights[:, i]) for i, c in enumerate(candidates)},
    )
    scale = average.calibration(found.distance)[0]
    nugget = float((scale**2 * (weights @ _nuggets(candidates)))[found.random].mean())
    return Field(samples, candidates, average, trend, nugget, validation)


def _nuggets(candidates: Sequence[Candidate]) -> np.ndarray:
    return np.array([candidate.covariance.nugget for candidate in candidates])


def _few_samples_width(values: np.ndarray) -> float:
    """Factor on the standard deviation where the variance is an estimate from few samples.

    With an inverse-gamma prior of the variance, samples to come follow Student's distribution.
    """
    freedom = len(values) - 1
    variance = max(float(values.var(ddof=1)), 1e-3)
    expected = (freedom * variance + PRIOR_SAMPLES * PRIOR_STD**2) / (freedom + PRIOR_SAMPLES)
    quantile = float(student.ppf(0.95, freedom + PRIOR_SAMPLES)) / NORMAL_Q95
    return quantile * float(np.sqrt(expected / variance))


def _equal(candidates: int, spacing: float, extent: float, width: float = 1.0) -> Average:
    wide = np.full(1, width)
    return Average(
        np.zeros((2, candidates)),
        spacing,
        max(extent / 10, 2 * spacing),
        np.zeros(1),
        wide,
        -NORMAL_Q95 * wide,
        NORMAL_Q95 * wide,
    )


def _flat(xy: np.ndarray, values: np.ndarray) -> Field:
    """One or two positions: the mean everywhere, with their spread or 10 dB."""
    positions, rows = merge_positions(xy, values), merge_rows(xy, values)
    variance = max(float(values.var()), 100.0)
    covariance = Covariance((max(positions.extent, 10.0),), (variance,), 0.1 * variance)
    candidate = Candidate("constant", Constant(float(values.mean())), covariance)
    samples = Samples(positions, rows, positions.tree, np.ones(len(positions.xy)))
    average = _equal(1, positions.spacing, positions.extent)
    return Field(samples, [candidate], average, None, covariance.nugget, None)
