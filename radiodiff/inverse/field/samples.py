"""Samples of a survey as runs of rows at one position, with a coordinate along the track.

Surveys are logged in order of time: consecutive rows share the receiver's orientation, the load of
the network and the weather, which another pass over the same street does not. The coordinate along
the track lets a covariance tell rows of one pass from rows of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

MAX_STEPS = 12.0
"""Longest segment between consecutive rows that counts as a part of the track, median steps."""
NEAR_RUNS = 12
"""Nearest runs whose segments are candidates for the pass of a position."""


@dataclass(frozen=True)
class Runs:
    """Consecutive rows at one position, merged."""

    xy: np.ndarray
    """(N, 2) positions, metres."""
    mean: np.ndarray
    """(N,) mean value of the rows, dB."""
    count: np.ndarray
    """(N,) number of rows."""
    track: np.ndarray
    """(N,) coordinate along the track: rows, or median steps where the receiver moved further."""
    scatter: float
    """Sum of squared deviations of the rows from the mean of their run, dB^2."""
    repeats: int
    """Rows beyond the first of each run: degrees of freedom of ``scatter``."""

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree over the positions."""
        return cKDTree(self.xy)

    @cached_property
    def spacing(self) -> float:
        """Median distance from a distinct position to the next one, metres."""
        distinct = np.unique(self.xy, axis=0)
        if len(distinct) == 1:
            return 1.0
        return float(np.median(cKDTree(distinct).query(distinct, k=2)[0][:, 1]))

    @cached_property
    def extent(self) -> float:
        """Diagonal of the bounding box, metres."""
        return max(float(np.hypot(*np.ptp(self.xy, axis=0))), 1e-6)

    @cached_property
    def step(self) -> float:
        """Median distance between consecutive runs, metres."""
        if len(self.xy) == 1:
            return 1.0
        return float(np.median(np.linalg.norm(np.diff(self.xy, axis=0), axis=1)))

    @cached_property
    def variance(self) -> float:
        """Variance of all rows, dB^2."""
        total = self.count.sum()
        mean = (self.count * self.mean).sum() / total
        between = (self.count * (self.mean - mean) ** 2).sum()
        return max(float((between + self.scatter) / total), 1e-6)


def merge_rows(xy: np.ndarray, values: np.ndarray) -> Runs:
    """Merge consecutive rows at one position.

    Args:
        xy: (N, 2) positions in metres, in the order of the file.
        values: (N,) dB.
    """
    moved = np.r_[True, np.any(np.diff(xy, axis=0) != 0, axis=1)]
    run = np.cumsum(moved) - 1
    count = np.bincount(run).astype(np.float64)
    mean = np.bincount(run, values) / count
    positions = np.ascontiguousarray(xy[moved], dtype=np.float64)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    typical = float(np.median(steps)) if len(steps) else 1.0
    track = np.r_[0.0, np.cumsum(np.maximum(steps / typical, 1.0))]
    scatter = float(((values - mean[run]) ** 2).sum())
    return Runs(positions, mean, count, track, scatter, len(values) - len(positions))


def merge_positions(xy: np.ndarray, values: np.ndarray) -> Runs:
    """Merge all rows at one position, whatever their order; the track coordinate is of no use.

    Args:
        xy: (N, 2) positions in metres.
        values: (N,) dB.
    """
    order = np.lexsort((xy[:, 1], xy[:, 0]))
    return merge_rows(xy[order], values[order])


@dataclass(frozen=True)
class Passes:
    """Where on the track a position may have been passed: the segments it fits best."""

    track: np.ndarray
    """(Q, S) coordinate along the track."""
    weight: np.ndarray
    """(Q, S) probability, sums to 1."""
    row: np.ndarray
    """(Q, S) run at which the segment begins."""


def find_passes(runs: Runs, xy: np.ndarray, *, width: float, number: int = 4) -> Passes:
    """Find the passes that a position may belong to.

    Inserting a position between two consecutive runs makes the track longer by a detour, which is
    small on the pass that it was measured in. The probability of a segment falls exponentially with
    its detour; far from the track, where all detours are long, the passes share it.

    Args:
        runs: the samples, at least two.
        xy: (Q, 2) metres.
        width: detour at which the probability has fallen by e on the track, median steps.
        number: S, segments kept per position.
    """
    near = min(NEAR_RUNS, len(runs.xy))
    index = runs.tree.query(xy, k=near)[1].reshape(len(xy), near)
    begin = np.clip(np.concatenate([index, index - 1], axis=1), 0, len(runs.xy) - 2)
    begin.sort(axis=1)
    repeated = np.zeros(begin.shape, dtype=bool)
    repeated[:, 1:] = begin[:, 1:] == begin[:, :-1]
    first, second = runs.xy[begin], runs.xy[begin + 1]
    to_first = np.linalg.norm(xy[:, None] - first, axis=-1)
    to_second = np.linalg.norm(xy[:, None] - second, axis=-1)
    length = np.linalg.norm(first - second, axis=-1)
    detour = np.maximum(to_first + to_second - length, 0.0)
    # A jump is no segment: its two ends are positions by themselves.
    jump = length > MAX_STEPS * runs.step
    detour = np.where(jump, 2.0 * np.minimum(to_first, to_second), detour)
    detour[repeated] = np.inf
    kept = np.argsort(detour, axis=1)[:, :number]
    share = np.take_along_axis(to_first / np.maximum(to_first + to_second, 1e-9), kept, 1)
    share = np.where(np.take_along_axis(jump, kept, 1), np.rint(share), share)
    row = np.take_along_axis(begin, kept, 1)
    detour = np.take_along_axis(detour, kept, 1)
    weight = np.exp(-(detour - detour[:, :1]) / (width * runs.step + 0.5 * detour[:, :1]))
    track = runs.track[row] + share * (runs.track[row + 1] - runs.track[row])
    return Passes(track, weight / weight.sum(axis=1, keepdims=True), row)
