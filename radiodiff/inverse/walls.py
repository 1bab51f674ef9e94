"""Walls between the measurements inside and outside of buildings, drawn as outlines with few
corners.

A network blurs a wall over the pixels that it cannot tell apart, but buildings are polygons: a wall
is straight for many metres, and all measurements along it say where it runs. :func:`draw_walls`
takes what a reconstruction says of the gain outdoors, turns every measurement into evidence for or
against a building, and samples outlines (:mod:`radiodiff.inverse.wall_chain`). The paper
has no such part: its sensing, RadioDiff-Inverse, eq. (20), ends with a threshold.

Maps are (H, W) in model range, buildings at ``BUILDING_VALUE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from scipy.ndimage import find_objects, gaussian_filter, maximum_filter
from skimage.measure import approximate_polygon, label

from radiodiff.data.measurements import BUILDING_VALUE
from radiodiff.data.polygons import trace_contours
from radiodiff.inverse.nearest import fill_from_nearest
from radiodiff.inverse.refinement_constants import constants
from radiodiff.inverse.wall_chain import MAX_VERTICES, rasterise_rings, run_chain


@dataclass(frozen=True)
class Walls:
    """Sampled buildings of one map, and the gain around them."""

    probability: np.ndarray
    """(H, W) float64, share of the sampled outlines that a pixel is in."""
    outdoor_gain: np.ndarray
    """(H, W) float64, model range, what a pixel has if it is outdoors."""
    masks: np.ndarray
    """(chains, H, W) bool, the last state of every chain."""


def expected_gain(probability: np.ndarray, outdoor_gain: np.ndarray) -> np.ndarray:
    """Return the (H, W) expected gain, model range, of probable buildings and the gain around."""
    return probability * BUILDING_VALUE + (1.0 - probability) * outdoor_gain


def can_draw_walls(values: np.ndarray, observed: np.ndarray, noise_std: np.ndarray) -> bool:
    """Whether some measurements lie inside of buildings, as far as their noise lets one tell.

    Args:
        values: (H, W) measurements, model range; anything where there is none.
        observed: (H, W) bool.
        noise_std: (H, W) sigma of the measurements, model range.
    """
    inside = values[observed] <= BUILDING_VALUE + 2.0 * noise_std[observed]
    return bool(inside.mean() >= constants().walls.min_share_inside)


def draw_walls(
    mean: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    noise_std: np.ndarray,
    seeds: Sequence[int],
) -> Walls:
    """Sample building outlines given a reconstruction and the measurements that it was made from.

    Args:
        mean: (H, W) reconstruction, model range.
        values: (H, W) measurements, model range; anything where there is none.
        observed: (H, W) bool.
        noise_std: (H, W) sigma of the measurements, model range.
        seeds: one for every chain; they run on as many threads as numba has.
    """
    own, costs = constants().walls, constants().chain.as_costs()
    mean, values = mean.astype(np.float64), values.astype(np.float64)
    outdoor = _outdoor_gain(mean)
    blurred = _building_share(mean, outdoor)
    evidence = building_evidence(blurred, outdoor, values, observed, noise_std.astype(np.float64))
    rings = outline_rings(blurred > 0.5)

    def chain(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rows, cols, sizes = (part.copy() for part in rings)
        mask = rasterise_rings(rows, cols, sizes, *mean.shape)
        rng = np.random.default_rng(seed)
        share = run_chain(
            rows, cols, sizes, mask, evidence, costs, own.sweeps, own.burn_in, own.count_every, rng
        )
        return share, mask

    with ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS) as threads:
        shares, masks = zip(*threads.map(chain, seeds), strict=True)
    probability = np.mean(shares, axis=0)
    gain = _gain_beside(probability, mean, blurred, values, observed)
    return Walls(probability, gain, np.stack(masks))


def building_evidence(
    share: np.ndarray,
    outdoor: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
    noise_std: np.ndarray,
) -> np.ndarray:
    """Nats against a building in every pixel: positive where it is more likely outdoors.

    A measurement is normal around the truncation inside, and outside around the gain there, or,
    rarely, anywhere. Elsewhere the network's own log-odds count a little.

    Args:
        share: (H, W) probability of a building by the network.
        outdoor: (H, W) gain outdoors, model range.
        values: (H, W) measurements, model range.
        observed: (H, W) bool.
        noise_std: (H, W) sigma, model range.
    """
    own = constants().walls
    sigma = np.maximum(noise_std, own.min_noise_std)
    spread = np.hypot(sigma, own.gain_std + own.gain_std_share * (outdoor - BUILDING_VALUE))
    inside = -0.5 * ((values - BUILDING_VALUE) / sigma) ** 2 - np.log(sigma)
    near = -0.5 * ((values - outdoor) / spread) ** 2 - np.log(spread)
    stray = np.log(own.stray_share * np.sqrt(2 * np.pi) / own.stray_range)
    outside = np.logaddexp(np.log1p(-own.stray_share) + near, stray)
    measured = np.clip(outside - inside, -own.max_log_evidence, own.max_log_evidence)
    share = share.clip(own.min_p_building, 1.0 - own.min_p_building)
    return np.where(observed, measured, -own.network_weight * (np.log(share) - np.log1p(-share)))


def outline_rings(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trace the buildings of a mask as rings of few vertices, holes included.

    Args:
        mask: (H, W) bool.

    Returns:
        (rings, MAX_VERTICES) int64 rows and columns of vertices, and (rings,) int64 their number.
    """
    outline_tolerance = constants().walls.outline_tolerance_px
    components = label(mask, connectivity=1)
    rings = []
    for index, box in enumerate(find_objects(components), start=1):
        corner = [extent.start for extent in box]
        for contour in trace_contours(components[box] == index):
            contour = contour + corner
            closed = np.vstack([contour, contour[:1]]).astype(np.float64)
            tolerance = outline_tolerance
            ring = approximate_polygon(closed, tolerance)[:-1]
            while len(ring) > MAX_VERTICES:
                tolerance *= 2.0
                ring = approximate_polygon(closed, tolerance)[:-1]
            rings.append(ring if len(ring) >= 3 else contour)
    vertices = np.zeros((2, len(rings), MAX_VERTICES), dtype=np.int64)
    sizes = np.array([len(ring) for ring in rings], dtype=np.int64)
    for index, ring in enumerate(rings):
        vertices[:, index, : len(ring)] = np.rint(ring).T
    return vertices[0], vertices[1], sizes


def _outdoor_gain(mean: np.ndarray) -> np.ndarray:
    """Gain outdoors where the reconstruction says so, carried on from there elsewhere."""
    own, above = constants().walls, mean - BUILDING_VALUE
    outdoor = (above > own.outdoor_gain_share * maximum_filter(above, own.outdoor_window_px)) & (
        above > own.min_gain_above_truncation
    )
    weight = gaussian_filter(outdoor.astype(np.float64), own.plane_std_px)
    near = gaussian_filter(np.where(outdoor, mean, 0.0), own.plane_std_px)
    near = near / np.maximum(weight, 1e-9)
    return np.where(outdoor, mean, fill_from_nearest(near, weight > 1e-4))


def _building_share(mean: np.ndarray, outdoor: np.ndarray) -> np.ndarray:
    """Share of a building in a pixel of the reconstruction, from 0 to 1."""
    return np.clip((outdoor - mean) / np.maximum(outdoor - BUILDING_VALUE, 1e-3), 0.0, 1.0)


def _gain_beside(
    probability: np.ndarray,
    mean: np.ndarray,
    blurred: np.ndarray,
    values: np.ndarray,
    observed: np.ndarray,
) -> np.ndarray:
    """Gain outdoors once the walls are known: beside them, where the reconstruction is blurred, a
    local plane through the pixels that are not and through the measurements.
    """
    own = constants().walls
    clear = (probability < own.max_p_building) & (blurred < own.max_building_share)
    outside = values > (BUILDING_VALUE + own.min_measured_gain_above_truncation)
    measured = observed & (probability < own.max_p_building_at_measurement) & outside & ~clear
    weights = clear + own.measurement_weight * measured
    fitted, known = _local_plane(np.where(measured, values, mean), weights)
    return np.where(clear, mean, fill_from_nearest(fitted, known))


def _local_plane(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a plane around every pixel by weighted least squares with Gaussian weights.

    Returns:
        (H, W) the planes in their pixels, and where there was anything to fit.
    """
    own = constants().walls
    rows, cols = np.meshgrid(*(np.arange(n) - n / 2.0 for n in values.shape), indexing="ij")

    def smooth(quantity: np.ndarray) -> np.ndarray:
        return gaussian_filter(weights * quantity, own.plane_std_px, mode="constant", truncate=3.0)

    total = smooth(np.ones_like(values))
    known = total > 1e-4
    total = np.where(known, total, 1.0)
    row, col, value = (smooth(q) / total for q in (rows, cols, values))
    # A ridge lets the plane fall back on the mean where the pixels lie on a line.
    rr, cc = (
        smooth(q * q) / total - m * m + own.plane_ridge for q, m in ((rows, row), (cols, col))
    )
    rc = smooth(rows * cols) / total - row * col
    rv, cv = (smooth(q * values) / total - m * value for q, m in ((rows, row), (cols, col)))
    determinant = rr * cc - rc * rc
    slope_row, slope_col = (rv * cc - cv * rc) / determinant, (cv * rr - rv * rc) / determinant
    rise = slope_row * (rows - row) + slope_col * (cols - col)
    return value + rise.clip(-own.max_plane_rise, own.max_plane_rise), known
