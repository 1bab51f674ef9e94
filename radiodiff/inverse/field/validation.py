"""Cross-validation of fields on a survey's own samples: weights, calibration and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from radiodiff.inverse.field.candidates import Candidate, Samples, predict_candidate
from radiodiff.inverse.field.samples import Runs, merge_positions, merge_rows

RANDOM_FOLDS = 8
BLOCK_FOLDS = 6
BLOCKS = (40, 20, 10)
"""Sides of the squares left out: the survey's extent over these."""
FOLDS = RANDOM_FOLDS + len(BLOCKS) * BLOCK_FOLDS
"""Most parts that are left out, one after the other."""
TARGETS = 500
"""Samples that are predicted per way of leaving out."""
NORMAL_Q95 = 1.645
"""95 % quantile of the standard normal distribution."""
RIDGE = 0.01
HEAD_START = 4.0
"""Logit that the first candidate, kriging, has before the errors are looked at: a gain that
cross-validation does not show clearly is not taken."""
KNOTS = 7
PRIOR_RESIDUALS = 15.0
"""Weight of the normal distribution in the calibration, residuals."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of samples that were left out."""

    mean: np.ndarray
    """(N, C) of every candidate, dB."""
    variance: np.ndarray
    """(N, C) of a sample, noise included, dB^2."""
    value: np.ndarray
    """(N,) the samples."""
    distance: np.ndarray
    """(N,) distance to the nearest sample that was kept, metres."""
    random: np.ndarray
    """(N,) bool, left out at random (else in a square)."""


def draw_folds(
    xy: np.ndarray, spacing: float, extent: float, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield assignments of samples to folds: at random, and in squares of three sizes."""
    yield rng.integers(0, RANDOM_FOLDS, len(xy))
    for part in BLOCKS:
        side = max(extent / part, 2.0 * spacing)
        angle = rng.uniform(0.0, np.pi / 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        squares = np.floor((xy @ turn + rng.uniform(0.0, side, 2)) / side).astype(np.int64)
        _, square = np.unique(squares, axis=0, return_inverse=True)
        square = square.reshape(-1)
        yield rng.integers(0, BLOCK_FOLDS, square.max() + 1)[square]


def leave_out(
    xy: np.ndarray,
    values: np.ndarray,
    samples: Samples,
    candidates: Sequence[Candidate],
    rng: np.random.Generator,
    *,
    targets: int = TARGETS,
    step: Callable[[], None] = lambda: None,
) -> Predictions:
    """Predict samples from the others, at random and in squares.

    Parameters of the candidates stay those of all samples; the neighbours do not. ``step`` is
    called up to ``FOLDS`` times.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    runs = samples.positions
    for number, fold in enumerate(draw_folds(xy, runs.spacing, runs.extent, rng)):
        chosen = np.zeros(len(xy), dtype=bool)
        chosen[rng.permutation(len(xy))[:targets]] = True
        for f in range(fold.max() + 1):
            out = (fold == f) & chosen
            kept = fold != f
            if not out.any() or kept.sum() < 3:
                continue
            positions = merge_positions(xy[kept], values[kept])
            rows = merge_rows(xy[kept], values[kept])
            mean, variance = predict_all(candidates, samples, positions, rows, xy[out])
            distance = positions.tree.query(xy[out])[0]
            parts.append(
                (mean, variance, values[out], distance, np.full(int(out.sum()), number == 0))
            )
            step()
    return Predictions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def predict_all(
    candidates: Sequence[Candidate],
    samples: Samples,
    positions: Runs,
    rows: Runs,
    xy: np.ndarray,
    patch_m: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict samples with every candidate: (Q, C) mean and (Q, C) variance with noise."""
    means, variances = [], []
    for candidate in candidates:
        runs = rows if candidate.on_track else positions
        mean, variance = predict_candidate(
            candidate, runs, samples.noise_factor(runs), xy, patch_m=patch_m
        )
        means.append(mean)
        variances.append(variance + candidate.covariance.nugget)
    return np.stack(means, axis=1), np.stack(variances, axis=1)


@dataclass(frozen=True)
class Average:
    """Weights of the candidates and calibration, as functions of the distance to the samples."""

    coefficients: np.ndarray
    """(2, C) of the weights' logits: constant, and slope over the scaled logarithm of distance."""
    spacing: float
    reach: float
    """Metres over which the logarithm of distance is scaled."""
    knots: np.ndarray
    """(K,) scaled logarithms of distance, ascending."""
    scale: np.ndarray
    """(K,) factor on the standard deviation."""
    low: np.ndarray
    """(K,) standardised residual exceeded by 95 %."""
    high: np.ndarray
    """(K,) standardised residual exceeded by 5 %."""

    def scaled(self, distance: np.ndarray) -> np.ndarray:
        """Return the scaled logarithm of distances in metres: -1 at a sample, 1 at the reach."""
        return _scaled(distance, self.spacing, self.reach)

    def weights(self, distance: np.ndarray) -> np.ndarray:
        """Return (N, C) weights at (N,) distances in metres."""
        return _softmax(_basis(self.scaled(distance)) @ self.coefficients)

    def combine(
        self, mean: np.ndarray, variance: np.ndarray, distance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Average (N, C) predictions: (N,) mean and (N,) standard deviation, not calibrated."""
        weights = self.weights(distance)
        average = (weights * mean).sum(axis=1)
        spread = (weights * (variance + (mean - average[:, None]) ** 2)).sum(axis=1)
        return average, np.sqrt(spread)

    def calibration(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scale, low and high at (N,) distances."""
        t = self.scaled(distance)
        return (
            np.interp(t, self.knots, self.scale),
            np.interp(t, self.knots, self.low),
            np.interp(t, self.knots, self.high),
        )


def _scaled(distance: np.ndarray, spacing: float, reach: float) -> np.ndarray:
    return 2.0 * np.log1p(distance / spacing) / np.log1p(reach / spacing) - 1.0


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _basis(t: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(t), np.clip(t, -1.0, 1.2)], axis=1)


def fit_average(found: Predictions, spacing: float, extent: float) -> Average:
    """Find weights that minimise the error of left-out samples, and calibrate the intervals.

    The weights are a softmax, linear in the logarithm of the distance to the samples; a ridge draws
    them to equal ones with a head start for kriging, the first. Large errors count linearly.
    """
    reach = max(extent / 10, 2 * spacing)
    t = _scaled(found.distance, spacing, reach)
    basis = _basis(t)
    error = found.value[:, None] - found.mean
    scale = max(float((error.mean(axis=1) ** 2).mean()), 1e-9)
    prior = np.zeros((2, error.shape[1]))
    prior[0, 0] = HEAD_START

    def loss(raw: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = raw.reshape(prior.shape)
        weights = _softmax(basis @ coefficients)
        mixed = (weights * error).sum(axis=1)
        root = np.sqrt(1.0 + mixed**2 / scale / 4.0)
        away = coefficients - prior
        value = 8.0 * (root - 1.0).mean() + RIDGE * (away**2).mean()
        slope = 2.0 * mixed / scale / root / len(mixed)
        logits = slope[:, None] * weights * (error - mixed[:, None])
        gradient = basis.T @ logits + 2.0 * RIDGE * away / away.size
        return float(value), gradient.reshape(-1)

    fitted = minimize(loss, prior.reshape(-1), jac=True, method="L-BFGS-B").x.reshape(prior.shape)
    knots = np.unique(np.quantile(t, np.linspace(0.02, 0.98, KNOTS)))
    neutral = np.ones(len(knots))
    width = NORMAL_Q95 * neutral
    average = Average(fitted, spacing, reach, knots, neutral, -width, width)
    mean, std = average.combine(found.mean, found.variance, found.distance)
    return _calibrate(average, (found.value - mean) / std, t)


def _calibrate(average: Average, residual: np.ndarray, t: np.ndarray) -> Average:
    """Set scale and quantiles at every knot from the standardised residuals near it."""
    normal = norm.ppf(np.linspace(0.005, 0.995, 100))
    values = np.r_[residual, normal]
    order = np.argsort(values)
    limit = 4.0 * 1.4826 * float(np.median(np.abs(residual)))  # gross errors set no scale
    scale, low, high = [], [], []
    for knot in average.knots:
        near = np.exp(-0.5 * ((t - knot) / 0.25) ** 2)
        weight = np.r_[near, np.full(len(normal), PRIOR_RESIDUALS / len(normal))]
        share = np.cumsum(weight[order]) - 0.5 * weight[order]
        share /= weight.sum()
        low.append(np.interp(0.05, share, values[order]))
        high.append(np.interp(0.95, share, values[order]))
        clipped = np.clip(values, -limit, limit)
        scale.append(np.sqrt((weight * clipped**2).sum() / weight.sum()))
    return Average(
        average.coefficients,
        average.spacing,
        average.reach,
        average.knots,
        np.array(scale),
        np.array(low),
        np.array(high),
    )
