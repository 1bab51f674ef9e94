"""Rules by which rows of a survey are left out, each with a name and a count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

PLAUSIBLE_DB = (-250.0, 60.0)
"""Values outside are no received power in dBm and no path gain in dB."""
SENTINELS = (
    -200.0, -1.0, 0.0, 1.0, 99.0, 100.0, 127.0, 255.0, -255.0, 999.0, -999.0, 9999.0, -9999.0,
    32767.0, -32768.0, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0,
)  # fmt: skip
"""What devices write where nothing was received."""
MIN_GAP_DB = 10.0
"""A sentinel within this distance of another value may be a measurement, and is kept."""
FAR_EXTENTS = 10.0
"""A few positions further from all others than this many times their extent are left out."""
MAX_FAR_SHARE = 0.05
MIN_FAR_M = 1000.0
"""Positions nearer than this to the others are not left out, however small the others' extent."""


@dataclass
class Rows:
    """Rows that are still counted, and what left the others out.

    Attributes:
        kept: (N,) bool.
        dropped: rule -> count.
    """

    kept: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, rule: str, bad: np.ndarray) -> None:
        """Leave out the rows that are still kept and are bad, (N,) bool."""
        count = int((self.kept & bad).sum())
        if count:
            self.dropped[rule] = self.dropped.get(rule, 0) + count
            self.kept = self.kept & ~bad


def drop_sentinels(rows: Rows, values: np.ndarray, sentinels: Sequence[float] | None) -> None:
    """Leave out values that mean "nothing received"; each value is a rule of its own.

    Args:
        rows: changed.
        values: (N,) dB or dBm.
        sentinels: the values; null takes the common ones, except those that lie among others.
    """
    present = np.unique(values[rows.kept])
    for sentinel in SENTINELS if sentinels is None else sentinels:
        if sentinel not in present:
            continue
        if sentinels is None:
            others = present[~np.isin(present, SENTINELS)]
            if len(others) and np.abs(others - sentinel).min() < MIN_GAP_DB:
                continue
        rows.drop(f"value {sentinel:.10g}", values == sentinel)


def drop_implausible(rows: Rows, values: np.ndarray) -> None:
    """Leave out values, (N,), that are neither dBm nor dB, if they are few among many."""
    low, high = PLAUSIBLE_DB
    bad = (values < low) | (values > high)
    if (bad & rows.kept).sum() * 2 < rows.kept.sum():
        rows.drop(f"value outside {low:g} .. {high:g} dB", bad)


def drop_zero_positions(rows: Rows, x: np.ndarray, y: np.ndarray, degrees: bool) -> None:
    """Leave out positions (0, 0), which devices without a fix write, unless others are near.

    Args:
        rows: changed.
        x: (N,) eastings or longitudes.
        y: (N,) northings or latitudes.
        degrees: whether they are degrees; zeros are then compared with 1 degree, else with the
            extent of the other positions.
    """
    zero = (x == 0) & (y == 0)
    others = rows.kept & ~zero
    if not (rows.kept & zero).any() or not others.any():
        return
    low = np.array([x[others].min(), y[others].min()])
    high = np.array([x[others].max(), y[others].max()])
    distance = np.hypot(*np.maximum(0.0, np.maximum(low, -high)))
    limit = 1.0 if degrees else max(MIN_FAR_M, FAR_EXTENTS * float(np.hypot(*(high - low))))
    if distance > limit:
        rows.drop("position (0, 0)", zero)


def drop_far_positions(rows: Rows, xy: np.ndarray) -> None:
    """Leave out a few positions that lie far from all others, so that the grid is not for them.

    Args:
        rows: changed.
        xy: (N, 2) metres.
    """
    index = np.flatnonzero(rows.kept)
    if len(index) < 4:
        return
    centre = np.median(xy[index], axis=0)
    distance = np.hypot(*(xy[index] - centre).T)
    order = np.argsort(distance)
    most = max(1, int(MAX_FAR_SHARE * len(index)))
    # The first gap that is many times as wide as what lies within it parts the far ones.
    for place in range(len(index) - most, len(index)):
        within, beyond = distance[order[place - 1]], distance[order[place]]
        if beyond - within > max(MIN_FAR_M, 2 * FAR_EXTENTS * within):
            far = np.zeros(len(rows.kept), dtype=bool)
            far[index[order[place:]]] = True
            rows.drop("position far from all others", far)
            return
