"""Local kriging: every position from its nearest samples, one factorisation per patch."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange


@njit(cache=True, fastmath=True, inline="always")
def _covariance(
    first: np.ndarray, second: np.ndarray, variances: np.ndarray
) -> float:  # pragma: no cover - compiled
    total = 0.0
    for c in range(len(variances)):
        d0 = first[c, 0] - second[c, 0]
        d1 = first[c, 1] - second[c, 1]
        d2 = first[c, 2] - second[c, 2]
        total += variances[c] * math.exp(-math.sqrt(d0 * d0 + d1 * d1 + d2 * d2))
    return total


@njit(cache=True, fastmath=True, parallel=True)
def solve_patches(
    coordinates: np.ndarray,
    variances: np.ndarray,
    residual: np.ndarray,
    noise: np.ndarray,
    neighbours: np.ndarray,
    start: np.ndarray,
    queries: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Simple kriging of residuals around a known mean.

    The covariance of two points is the sum over components c of
    variances[c] exp(-|coordinates[., c] - coordinates[., c]|).

    Args:
        coordinates: (N, C, 3) of the samples, in correlation lengths.
        variances: (C,) dB^2.
        residual: (N,) dB.
        noise: (N,) variance of the samples' errors, dB^2.
        neighbours: (P, K) samples that a patch is estimated from; -1 leaves a place empty.
        start: (P + 1,) first query of every patch, and the number of queries.
        queries: (Q, C, 3) as ``coordinates``, sorted by patch.

    Returns:
        (Q,) mean in dB and (Q,) variance in dB^2, without noise.
    """
    mean = np.empty(len(queries))
    variance = np.empty(len(queries))
    total = variances.sum()
    most = neighbours.shape[1]
    for p in prange(len(neighbours)):
        index = np.empty(most, np.int64)
        k = 0
        for a in range(most):
            if neighbours[p, a] >= 0:
                index[k] = neighbours[p, a]
                k += 1
        factor = np.empty((k, k))
        white = np.empty(k)
        for a in range(k):
            for b in range(a + 1):
                value = _covariance(coordinates[index[a]], coordinates[index[b]], variances)
                if a == b:
                    value += noise[index[a]] + 1e-8 * total
                for c in range(b):
                    value -= factor[a, c] * factor[b, c]
                if a == b:
                    factor[a, a] = math.sqrt(max(value, 1e-10 * total))
                else:
                    factor[a, b] = value / factor[b, b]
            value = residual[index[a]]
            for b in range(a):
                value -= factor[a, b] * white[b]
            white[a] = value / factor[a, a]
        right = np.empty(k)
        for q in range(start[p], start[p + 1]):
            explained = 0.0
            estimate = 0.0
            for a in range(k):
                value = _covariance(coordinates[index[a]], queries[q], variances)
                for b in range(a):
                    value -= factor[a, b] * right[b]
                right[a] = value / factor[a, a]
                estimate += right[a] * white[a]
                explained += right[a] * right[a]
            mean[q] = estimate
            variance[q] = max(total - explained, 1e-9 * total)
    return mean, variance
