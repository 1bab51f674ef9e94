"""What a reconstructed map tells about the place: building outlines and the transmitter.

RadioDiff-Inverse, section III-A: a threshold tau is estimated from the truncation floor, and pixels
below it are radio shadows, mostly buildings. Maps are (H, W) in model range; positions are (row,
column) with pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter
from scipy.optimize import least_squares

WINDOW = 5
"""Side of the window in which a region is called flat, pixels."""
DARK_SHARE = 0.05
"""Share of the map, the weakest, in which the floor is looked for."""
SHADOW_MARGIN = 0.04
"""tau lies at least so far above the floor, model range (2 % of the gray scale, 2 dB)."""
SHADOW_SIGMAS = 2.0
"""and this many standard deviations of the floor."""
EDGE_WINDOW = 5
"""Side of the window, pixels, in which the strongest pixel next to a shadow is looked for."""
MIN_OUTLINE_AREA = 16.0
"""Shadows below this many pixels are no outlines."""
FIT_RADIUS = 12
"""Pixels around the strongest spot that the transmitter is fitted to."""
FIT_SCALE = 0.03
"""Residual beyond which a pixel counts less, model range."""
OFFSET_M = 0.5
"""Least distance in the path-loss model, pixels; keeps its logarithm finite."""


@dataclass(frozen=True)
class TruncationFloor:
    """Level and spread of the weakest pixels, model range."""

    level: float
    std: float


@dataclass(frozen=True)
class Transmitter:
    """An estimated transmitter position."""

    position: np.ndarray
    """(2,) row and column."""
    std: np.ndarray
    """(2,) standard deviation of each."""
    slope: float
    """Fitted decay in model range per decade of distance, positive; NaN when nothing was fitted."""


def truncation_floor(gain: np.ndarray) -> TruncationFloor:
    """Estimate the floor from low-variance regions: the flattest of the weakest pixels.

    Args:
        gain: (H, W).
    """
    local_mean = uniform_filter(gain.astype(np.float64), WINDOW)
    local_variance = uniform_filter(gain.astype(np.float64) ** 2, WINDOW) - local_mean**2
    weak = local_mean <= np.quantile(local_mean, DARK_SHARE)
    flat = weak & (local_variance <= np.median(local_variance[weak]))
    level = float(np.median(gain[flat]))
    return TruncationFloor(level, float(1.4826 * np.median(np.abs(gain[flat] - level))))


def noise_std_from_repeats(values: np.ndarray) -> float:
    """Estimate a measurement error from repeated samples of the same places, pooled over places.

    Args:
        values: (R, N) at least two repeats; NaN where one is missing.

    Returns:
        Standard deviation, in the unit of the values; NaN if no place was sampled twice.
    """
    count = np.isfinite(values).sum(axis=0)
    repeated = values[:, count > 1]
    if repeated.size == 0:
        return float("nan")
    residual = repeated - np.nanmean(repeated, axis=0)
    degrees = (count[count > 1] - 1).sum()
    return float(np.sqrt(np.nansum(residual**2) / degrees))


def shadow_threshold(gain: np.ndarray) -> float:
    """Estimate tau from the truncation floor: a margin and two standard deviations above it.

    Args:
        gain: (H, W).
    """
    return _threshold_above(truncation_floor(gain))


def local_shadow_threshold(gain: np.ndarray) -> np.ndarray:
    """Return tau, raised at edges to half way from the floor to the strongest pixel near, (H, W).

    An estimate is blurred at walls, and a blurred edge passes half its height at the wall. The
    constant tau of RadioDiff-Inverse, eq. (20), just above the floor, takes a rim off every
    building.

    Args:
        gain: (H, W), model range, as the result.
    """
    floor = truncation_floor(gain)
    half_way = (floor.level + maximum_filter(gain, EDGE_WINDOW)) / 2
    return np.maximum(half_way, _threshold_above(floor))


def _threshold_above(floor: TruncationFloor) -> float:
    return floor.level + SHADOW_MARGIN + SHADOW_SIGMAS * floor.std


def shadow_mask(gain: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Return the pixels in shadow, I(p <= tau) of RadioDiff-Inverse, eq. (20).

    Args:
        gain: (H, W).
        threshold: tau; None estimates it with :func:`shadow_threshold` and raises it at edges
            (:func:`local_shadow_threshold`).
    """
    if threshold is not None:
        return gain <= threshold
    return gain <= local_shadow_threshold(gain)


def sensing_term(known: np.ndarray, shadows: np.ndarray) -> float:
    """Sensing term L(h_s, I(p <= tau)) as mean squared difference of the masks.

    It is the second term of RadioDiff-Inverse, eq. (20).

    Args:
        known: (H, W) bool, pixels known to hold buildings.
        shadows: (H, W) bool.

    Returns:
        Share of pixels in which the two disagree, 0 is best.
    """
    return float(np.mean(known != shadows))


def outlines(mask: np.ndarray, tolerance: float = 1.0) -> list[shapely.Polygon]:
    """Return the outlines of shadows as simplified polygons with holes.

    A pixel counts as the unit square around its centre, which is its integer coordinate. This is
    neither raster rule of RadioMapSeer: polygons under those come from
    :func:`radiodiff.data.polygons.polygons_from_mask`.

    Args:
        mask: (H, W) bool.
        tolerance: a vertex may be dropped if the outline moves less than this, pixels.

    Returns:
        Valid polygons with x = column and y = row, those below ``MIN_OUTLINE_AREA`` left out.
    """
    padded = np.pad(mask.astype(np.int8), ((0, 0), (1, 1)))
    edges = np.diff(padded, axis=1)
    rows, begin = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    runs = shapely.box(begin - 0.5, rows - 0.5, end - 0.5, rows + 0.5)
    parts = shapely.get_parts(shapely.union_all(runs))
    # Normalised rings begin at a corner; the first vertex is one that simplification never drops.
    simple = shapely.get_parts(shapely.simplify(shapely.normalize(parts), tolerance))
    large = [polygon for polygon in simple if polygon.area >= MIN_OUTLINE_AREA]
    return [polygon for polygon in large if polygon.geom_type == "Polygon"]


def locate_transmitter(gain: np.ndarray, threshold: float | None = None) -> Transmitter:
    """Fit position, power and decay of the path-loss model to the surroundings of the strongest
    spot.

    gain = a - b log10(d), with d the distance to the transmitter, by least squares with a Cauchy
    loss, so that pixels around a corner do not pull. Pixels in shadow are left out.

    Args:
        gain: (H, W).
        threshold: tau below which a pixel is in shadow; None estimates it.

    Returns:
        Position with the standard deviation of the fit. Where fewer than eight pixels can be used
        or the fit leaves its window, the strongest spot itself with the window's size.
    """
    lit = ~shadow_mask(gain, threshold)
    # Averages over lit pixels only: a wall beside the transmitter must not push the spot away.
    share = gaussian_filter(lit.astype(np.float64), 1.0)
    smooth = gaussian_filter(np.where(lit, gain, 0.0).astype(np.float64), 1.0)
    smooth = np.where(lit, smooth / np.maximum(share, 1e-6), -np.inf)
    peak = np.array(np.unravel_index(np.argmax(smooth), smooth.shape), dtype=np.float64)
    pixels = np.argwhere(lit)
    pixels = pixels[np.hypot(*(pixels - peak).T) <= FIT_RADIUS]
    unknown = Transmitter(peak, np.full(2, FIT_RADIUS / 2.0), float("nan"))
    if len(pixels) < 8:
        return unknown
    values = gain[pixels[:, 0], pixels[:, 1]].astype(np.float64)

    def residual(parameters: np.ndarray) -> np.ndarray:
        row, column, power, slope = parameters
        squared = (pixels[:, 0] - row) ** 2 + (pixels[:, 1] - column) ** 2 + OFFSET_M**2
        return power - slope * 0.5 * np.log10(squared) - values

    start = np.array([*peak, values.max(), 0.5])
    fit = least_squares(residual, start, loss="cauchy", f_scale=FIT_SCALE, x_scale=[1, 1, 0.1, 0.1])
    position = fit.x[:2]
    variance = (residual(fit.x) ** 2).sum() / max(len(pixels) - 4, 1)
    information = fit.jac.T @ fit.jac
    inside = np.hypot(*(position - peak)) <= FIT_RADIUS / 2
    if not inside or fit.x[3] <= 0 or np.linalg.cond(information) > 1e12:
        return unknown
    covariance = variance * np.linalg.inv(information)
    return Transmitter(position, np.sqrt(np.diag(covariance)[:2]), float(fit.x[3]))
