"""Interpolation of sparse samples without any prior: the baselines of RadioDiff-Inverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator, RBFInterpolator
from scipy.optimize import curve_fit
from scipy.spatial import cKDTree

from radiodiff.errors import InputError

NEIGHBOURS = 16
"""Samples in the moving neighbourhood of kriging and of the radial basis functions."""
VARIOGRAM_SAMPLES = 15_000
"""Most samples that the empirical variogram is estimated from."""
VARIOGRAM_REACH = 16.0
"""Longest lag of the variogram, pixels."""
VARIOGRAM_LAGS = 24
KRIGING_CHUNK = 8192
"""Pixels solved for at once, to bound memory."""


def nearest(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give every pixel the value of the nearest observed one.

    Args:
        values: (H, W).
        mask: (H, W) bool, true where observed.

    Returns:
        (H, W) float64.
    """
    points = _points(mask)
    grid = np.indices(mask.shape).reshape(2, -1).T
    return NearestNDInterpolator(points, values[mask])(grid).reshape(mask.shape)


def linear(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Interpolate linearly on the Delaunay triangles of the samples; nearest outside their hull.

    Args:
        values: (H, W).
        mask: (H, W) bool, true where observed.

    Returns:
        (H, W) float64.
    """
    fallback = nearest(values, mask)
    points = _points(mask)
    if len(points) < 3 or np.linalg.matrix_rank(points - points[0]) < 2:
        return fallback
    grid = np.indices(mask.shape).reshape(2, -1).T
    inside = LinearNDInterpolator(points, values[mask])(grid).reshape(mask.shape)
    return np.where(np.isnan(inside), fallback, inside)


def radial_basis(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Interpolate with linear radial basis functions through the nearest samples of every pixel.

    Args:
        values: (H, W).
        mask: (H, W) bool, true where observed.

    Returns:
        (H, W) float64.
    """
    points = _points(mask)
    grid = np.indices(mask.shape).reshape(2, -1).T.astype(np.float64)
    spline = RBFInterpolator(
        points, values[mask], neighbors=min(NEIGHBOURS, len(points)), kernel="linear"
    )
    return spline(grid).reshape(mask.shape)


@dataclass(frozen=True)
class Variogram:
    """Exponential variogram: nugget + sill (1 - exp(-h / length))."""

    nugget: float
    sill: float
    length: float

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Return the semivariance at positive distances, pixels."""
        return self.nugget + self.sill * (1.0 - np.exp(-distance / self.length))


def fit_variogram(points: np.ndarray, values: np.ndarray) -> Variogram:
    """Fit an exponential variogram to the semivariances of all pairs of nearby samples.

    Args:
        points: (N, 2) positions, pixels.
        values: (N,).
    """
    if len(points) > VARIOGRAM_SAMPLES:
        chosen = np.random.default_rng(0).choice(len(points), VARIOGRAM_SAMPLES, replace=False)
        points, values = points[chosen], values[chosen]
    pairs = cKDTree(points).query_pairs(VARIOGRAM_REACH, output_type="ndarray")
    first, second = pairs.T
    distance = np.linalg.norm(points[first] - points[second], axis=1)
    semivariance = 0.5 * (values[first] - values[second]) ** 2
    variance = max(float(np.var(values)), 1e-12)
    lag = np.minimum((distance / VARIOGRAM_REACH * VARIOGRAM_LAGS).astype(int), VARIOGRAM_LAGS - 1)
    count = np.bincount(lag, minlength=VARIOGRAM_LAGS)
    filled = count > 0
    if filled.sum() < 4:
        return Variogram(0.0, variance, VARIOGRAM_REACH / 3)
    count = count[filled]
    mean_distance = np.bincount(lag, distance, VARIOGRAM_LAGS)[filled] / count
    mean_semivariance = np.bincount(lag, semivariance, VARIOGRAM_LAGS)[filled] / count
    fitted, _ = curve_fit(
        lambda h, *parameters: Variogram(*parameters)(h),
        mean_distance,
        mean_semivariance,
        p0=(0.1 * variance, variance, VARIOGRAM_REACH / 4),
        sigma=count**-0.5,
        bounds=((0.0, 1e-3 * variance, 1.0), (variance, 10.0 * variance, 10.0 * VARIOGRAM_REACH)),
    )
    return Variogram(*(float(parameter) for parameter in fitted))


def kriging(
    values: np.ndarray,
    mask: np.ndarray,
    *,
    variogram: Variogram | None = None,
    neighbours: int = NEIGHBOURS,
    chunk: int = KRIGING_CHUNK,
) -> np.ndarray:
    """Ordinary kriging with an exponential variogram and a moving neighbourhood.

    The nugget is taken as the error of the measurements, which is filtered out: the result does not
    pass through noisy samples. The systems are solved here because the libraries at hand form the
    matrix of all samples (13,000 of them on a map of 256 x 256 with 80 % missing).

    Args:
        values: (H, W).
        mask: (H, W) bool, true where observed.
        variogram: of the values; None fits one to them.
        neighbours: nearest samples that a pixel is estimated from; as many as there are samples
            give the exact solution.
        chunk: pixels solved for at once; the result does not depend on it.

    Returns:
        (H, W) float64.
    """
    points, observed = _points(mask).astype(np.float64), values[mask]
    if len(points) == 1:
        return np.full(mask.shape, observed[0], dtype=np.float64)
    variogram = fit_variogram(points, observed) if variogram is None else variogram
    k = min(neighbours, len(points))
    grid = np.indices(mask.shape).reshape(2, -1).T.astype(np.float64)
    distance, neighbour = cKDTree(points).query(grid, k=k)
    result = np.empty(len(grid))
    for first in range(0, len(grid), chunk):
        part = slice(first, first + chunk)
        near = points[neighbour[part]]
        between = np.linalg.norm(near[:, :, None] - near[:, None], axis=-1)
        # Covariances bordered by ones: the weights sum to 1, whatever the unknown mean.
        system = np.ones((len(near), k + 1, k + 1))
        system[:, :k, :k] = variogram.sill * np.exp(-between / variogram.length)
        # The trace on the diagonal keeps a system without nugget well conditioned.
        system[:, range(k), range(k)] += variogram.nugget + 1e-9 * variogram.sill
        system[:, k, k] = 0.0
        right = np.ones((len(near), k + 1, 1))
        right[:, :k, 0] = variogram.sill * np.exp(-distance[part] / variogram.length)
        weights = np.linalg.solve(system, right)[:, :k, 0]
        result[part] = (weights * observed[neighbour[part]]).sum(axis=1)
    return result.reshape(mask.shape)


def _points(mask: np.ndarray) -> np.ndarray:
    points = np.argwhere(mask)
    if len(points) == 0:
        raise InputError("no observed pixel: nothing to interpolate")
    return points


INTERPOLATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "nearest": nearest,
    "linear": linear,
    "rbf": radial_basis,
    "kriging": kriging,
}
"""Name -> (values, mask) -> map."""
