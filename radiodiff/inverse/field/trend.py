"""Log-distance trend around a transmitter whose position is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from radiodiff.inverse.field.covariance import LIKELIHOOD_SAMPLES, Covariance, choose_subset
from radiodiff.inverse.field.samples import Runs

EXPONENT, EXPONENT_STD = 3.0, 1.5
"""Prior of the path-loss exponent: free space has 2, cities 3 to 5, corridors down to 1.5."""
LEVEL_STD = 100.0
"""Prior standard deviation of the received power in the middle, dB: unknown transmit power."""
GRID = 21
MARGIN = 0.3
"""How far outside the survey's bounding box a transmitter is sought, share of its longer side."""

Mean = Callable[[np.ndarray], np.ndarray]
"""(N, 2) metres -> (N,) dB."""


@dataclass(frozen=True)
class LogDistance:
    """Received power level - 10 exponent log10(distance in metres)."""

    transmitter: tuple[float, float]
    exponent: float
    level: float
    """dB at 1 m."""
    near: float
    """Distance added in squares, metres: keeps the trend finite at the transmitter."""
    evidence: float
    """Logarithm of the Bayes factor against a constant."""

    def __call__(self, xy: np.ndarray) -> np.ndarray:
        """Return the trend at (N, 2) positions, (N,) dB."""
        transmitter = np.array([self.transmitter])
        return self.level + self.exponent * _log_distance(xy, transmitter, self.near)[:, 0]


def fit_trend(
    runs: Runs,
    covariance: Covariance,
    noise_factor: np.ndarray,
    rng: np.random.Generator,
    *,
    max_samples: int = LIKELIHOOD_SAMPLES,
) -> LogDistance:
    """Fit the trend by generalised least squares for transmitters on a grid that is refined.

    Level and exponent are integrated out for each position, so that the position is judged by its
    marginal likelihood under the covariance of the residuals.

    Args:
        runs: the samples.
        covariance: of the residuals around the trend.
        noise_factor: (N,) factor on the variance of the noise.
        rng: source of randomness of the subset.
        max_samples: samples in the likelihood.
    """
    chosen = choose_subset(runs, max_samples, rng, track=False)
    xy, values = runs.xy[chosen], runs.mean[chosen]
    coordinates = covariance.embed(xy, runs.track[chosen])
    apart = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=-1)
    matrix = (covariance.component_variances * np.exp(-apart)).sum(axis=-1)
    matrix += np.diag(
        covariance.nugget * noise_factor[chosen] / runs.count[chosen] + 1e-6 * runs.variance
    )
    factor = np.linalg.cholesky(matrix)
    middle = float(values.mean())
    ones, white = solve_triangular(factor, np.c_[np.ones(len(xy)), values - middle], lower=True).T
    level_precision = 1.0 + LEVEL_STD**2 * (ones @ ones)
    level_score = LEVEL_STD * (ones @ white)

    def judge(positions: np.ndarray) -> np.ndarray:
        """(P, 2) -> (P, 3): log Bayes factor, exponent, level."""
        column = _log_distance(xy, positions, runs.spacing)
        centre = column.mean(axis=0)
        slope = solve_triangular(factor, column - centre, lower=True)
        rest = white[:, None] - EXPONENT * slope
        cross = LEVEL_STD * EXPONENT_STD * (ones @ slope)
        precision = 1.0 + EXPONENT_STD**2 * (slope**2).sum(axis=0)
        first = LEVEL_STD * (ones @ rest)
        second = EXPONENT_STD * (slope * rest).sum(axis=0)
        determinant = level_precision * precision - cross**2
        explained = precision * first**2 - 2 * cross * first * second + level_precision * second**2
        evidence = -0.5 * ((rest**2).sum(axis=0) - explained / determinant + np.log(determinant))
        exponent = (
            EXPONENT + EXPONENT_STD * (level_precision * second - cross * first) / determinant
        )
        level = middle + LEVEL_STD * (precision * first - cross * second) / determinant
        return np.stack([evidence, exponent, level - exponent * centre], axis=1)

    low, high = runs.xy.min(axis=0), runs.xy.max(axis=0)
    margin = MARGIN * float((high - low).max())
    axes = [np.linspace(low[i] - margin, high[i] + margin, GRID) for i in (0, 1)]
    positions = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    step = np.array([axis[1] - axis[0] for axis in axes])
    found = judge(positions)
    offsets = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
    for _ in range(3):
        step = step / 2.5
        leading = positions[np.argsort(-found[:, 0])[:6]]
        finer = (leading[:, None] + offsets * step).reshape(-1, 2)
        positions, found = np.r_[positions, finer], np.r_[found, judge(finer)]
    constant = -0.5 * (white @ white - level_score**2 / level_precision + np.log(level_precision))
    winner = int(np.argmax(found[:, 0]))
    evidence, exponent, level = found[winner]
    return LogDistance(
        transmitter=(float(positions[winner, 0]), float(positions[winner, 1])),
        exponent=float(exponent),
        level=float(level),
        near=runs.spacing,
        evidence=float(evidence - constant),
    )


def _log_distance(xy: np.ndarray, positions: np.ndarray, near: float) -> np.ndarray:
    """(N, P) of -10 log10 of the distance in metres."""
    squared = ((xy[:, None] - positions[None]) ** 2).sum(axis=-1)
    return -5.0 * np.log10(squared + near**2)
