"""Interpolation of sparse samples without any prior: the baselines of RadioDiff-Inverse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from radiodiff.errors import InputError


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


def _points(mask: np.ndarray) -> np.ndarray:
    points = np.argwhere(mask)
    if len(points) == 0:
        raise InputError("no observed pixel: nothing to interpolate")
    return points


INTERPOLATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "nearest": nearest,
    "linear": linear,
}
"""Name -> (values, mask) -> map."""
