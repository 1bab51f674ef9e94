"""Measurements at positions between the pixels of a map, and the linear operator they are made
with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse

from radiodiff.errors import InputError


@dataclass(frozen=True)
class PointMeasurements:
    """Measurements of one map at positions between its pixels, each a bilinear mean of four of
    them.
    """

    positions: np.ndarray
    """(N, 2) fractional row and column."""
    values: np.ndarray
    """(N,) model range."""
    noise_std: np.ndarray
    """(N,) sigma, > 0."""
    shape: tuple[int, int]
    """Rows and columns of the map."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all() or not np.isfinite(self.positions).all():
            raise InputError(
                "a measurement has a value or position that is not finite; leave it out"
            )
        if not (np.isfinite(self.noise_std) & (self.noise_std > 0)).all():
            raise InputError(
                "measurements need a noise level > 0 each, so that they can be averaged"
            )
        outside = np.any((self.pixels < 0) | (self.pixels >= np.array(self.shape)), axis=1)
        if outside.any():
            row, column = self.positions[outside][0]
            raise InputError(
                f"{int(outside.sum())} of {len(self.values)} measurements lie outside the grid of "
                f"{self.shape[0]} x {self.shape[1]}, the first at row {row:g}, column {column:g}"
            )

    @property
    def pixels(self) -> np.ndarray:
        """(N, 2) row and column of the pixel, the square around a pixel's centre, of each."""
        return np.rint(self.positions).astype(np.int64)

    def joined(self, other: PointMeasurements) -> PointMeasurements:
        """Return these measurements followed by ``other``, of the same map."""
        return PointMeasurements(
            np.concatenate([self.positions, other.positions]),
            np.concatenate([self.values, other.values]),
            np.concatenate([self.noise_std, other.noise_std]),
            self.shape,
        )

    @cached_property
    def matrix(self) -> scipy.sparse.csr_array:
        """The bilinear operator A, (N, H W); positions beyond the last centres are moved there."""
        last = np.array(self.shape) - 1
        inside = np.clip(self.positions, 0, last)
        base = np.minimum(np.floor(inside).astype(np.int64), np.maximum(last - 1, 0))
        share = inside - base
        rows, columns, weights = [], [], []
        for down in (0, 1):
            for right in (0, 1):
                corner = np.minimum(base + np.array([down, right]), last)
                weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
                rows.append(np.arange(len(inside)))
                columns.append(np.ravel_multi_index(tuple(corner.T), self.shape))
                weights.append(weight)
        entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        return scipy.sparse.csr_array(entries, shape=(len(inside), int(np.prod(self.shape))))

    @cached_property
    def gram(self) -> scipy.sparse.csr_array:
        """A A^T, (N, N)."""
        return (self.matrix @ self.matrix.T).tocsr()
