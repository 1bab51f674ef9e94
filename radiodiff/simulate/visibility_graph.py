"""The lines of sight that all transmitters of a layout share.

A path may pass a corner on its right or on its left, and only in directions tangent to the building
there. Zone 2 k + s is corner k passed with the building on the right (s = 0) or left (s = 1); what
leaves a corner is grouped by zone. Roof points see corners and pixels at the foot of the walls.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np

from radiodiff.simulate.visibility import (
    PIXEL_SHIFT,
    Corners,
    edges_within,
    sees,
    sweep,
    tangent_side,
)


class Links(NamedTuple):
    """Straight links grouped by where they leave: group i holds entries start[i] to start[i + 1].

    Attributes:
        start: (groups + 1,) int64.
        target: (N,) int32: a zone, a roof point or a pixel.
        length: (N,) float32, metres in plan.
        azimuth: (N,) float32, atan2(d_row, d_col) in radians.
    """

    start: np.ndarray
    target: np.ndarray
    length: np.ndarray
    azimuth: np.ndarray


class VisibilityGraph(NamedTuple):
    """Links between corners (by zone), roof points and pixels."""

    corner_to_corner: Links
    corner_to_pixel: Links
    corner_to_roof: Links
    roof_to_corner: Links
    roof_to_pixel: Links


def build_graph(
    corners: Corners,
    roof: np.ndarray,
    edges: np.ndarray,
    outdoor: np.ndarray,
    reach: float = np.inf,
    threads: int = 1,
) -> VisibilityGraph:
    """Return all links of a layout.

    Args:
        corners: the K convex corners of the buildings.
        roof: (R, 2) roof points, shifted out of their walls.
        edges: (E, 4) building edges.
        outdoor: (H, W) bool; links count the pixels that are True, row by row.
        reach: links end in the square of this half-side around where they leave.
        threads: number of points whose links are found at a time.
    """
    number = np.where(outdoor, np.cumsum(outdoor).reshape(outdoor.shape) - 1, -1).astype(np.int32)
    scene = (corners, edges, reach)
    corner_to_corner = _in_parts(_links_to_corners, corners.outside, True, threads, *scene)
    roof_to_corner = _in_parts(_links_to_corners, roof, False, threads, *scene)
    return VisibilityGraph(
        corner_to_corner,
        _in_parts(_links_to_pixels, corners.outside, True, threads, *scene, number),
        _reverse(roof_to_corner, 2 * len(corners.position)),
        roof_to_corner,
        _in_parts(_links_to_pixels, roof, False, threads, *scene, number),
    )


def _in_parts(
    find: Callable[..., tuple[np.ndarray, ...]],
    sources: np.ndarray,
    from_corners: bool,
    threads: int,
    *scene: Any,
) -> Links:
    """Return the links that leave all sources, found in parts by threads."""
    parts = 1 if threads == 1 else 8 * threads  # more parts than threads, for they differ in cost
    bounds = [len(sources) * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(threads) as pool:
        found = list(
            pool.map(
                lambda part: find(sources, bounds[part], bounds[part + 1], from_corners, *scene),
                range(parts),
            )
        )
    counts = [np.diff(links[0]) for links in found]
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
    return Links(start, *(np.concatenate([links[i] for links in found]) for i in (1, 2, 3)))


def _reverse(down: Links, zones: int) -> Links:
    """Return the links from zones to roof points, given those from roof points to zones."""
    source = np.repeat(np.arange(len(down.start) - 1, dtype=np.int32), np.diff(down.start))
    # Walked backwards, the building lies on the other side.
    zone = down.target ^ 1
    order = np.argsort(zone, kind="stable")
    start = np.concatenate(([0], np.cumsum(np.bincount(zone, minlength=zones))))
    azimuth = down.azimuth + np.where(down.azimuth > 0, -np.pi, np.pi).astype(np.float32)
    return Links(start, source[order], down.length[order], azimuth[order])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _walls_around(
    row: float, col: float, all_edges: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the edges within reach of a point, and what :func:`sweep` finds of them."""
    edges = edges_within(row, col, reach, all_edges)
    bounds, nearest = sweep(row, col, edges)
    return edges, bounds, nearest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _links_to_corners(
    sources: np.ndarray,
    first: int,
    stop: int,
    from_corners: bool,
    corners: Corners,
    all_edges: np.ndarray,
    reach: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the links from sources first .. stop - 1 to corners.

    From corners they are grouped by zone and tangent there.
    """
    sides = 2 if from_corners else 1
    count = corners.position.shape[0]
    start = np.zeros(sides * (stop - first) + 1, dtype=np.int64)
    target = np.empty(1024, dtype=np.int32)
    lengths = np.empty(1024, dtype=np.float32)
    azimuth = np.empty(1024, dtype=np.float32)
    n = 0
    for k in range(first, stop):
        row, col = sources[k]
        origin_row, origin_col = corners.position[k] if from_corners else sources[k]
        edges, bounds, nearest = _walls_around(row, col, all_edges, reach)
        for side in range(sides):
            for m in range(count):
                dr = corners.position[m, 0] - origin_row
                dc = corners.position[m, 1] - origin_col
                if max(abs(dr), abs(dc)) > reach:
                    continue
                length = np.hypot(dr, dc)
                if length < 1e-6:
                    continue
                if from_corners and tangent_side(dr, dc, corners, k) != 1 - 2 * side:
                    continue
                arrival = tangent_side(dr, dc, corners, m)
                if arrival == 0 or not sees(
                    row,
                    col,
                    bounds,
                    nearest,
                    edges,
                    corners.outside[m, 0],
                    corners.outside[m, 1],
                ):
                    continue
                if n == target.shape[0]:
                    target = np.concatenate((target, target))
                    lengths = np.concatenate((lengths, lengths))
                    azimuth = np.concatenate((azimuth, azimuth))
                target[n] = 2 * m + (1 - arrival) // 2
                lengths[n] = length
                azimuth[n] = np.arctan2(dr, dc)
                n += 1
            start[sides * (k - first) + side + 1] = n
    return start, target[:n].copy(), lengths[:n].copy(), azimuth[:n].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _links_to_pixels(
    sources: np.ndarray,
    first: int,
    stop: int,
    from_corners: bool,
    corners: Corners,
    all_edges: np.ndarray,
    reach: float,
    number: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the links from sources first .. stop - 1 to pixels, (H, W) numbers or -1.

    From corners they are grouped by zone and tangent there.
    """
    sides = 2 if from_corners else 1
    height, width = number.shape
    start = np.zeros(sides * (stop - first) + 1, dtype=np.int64)
    target = np.empty(65536, dtype=np.int32)
    lengths = np.empty(65536, dtype=np.float32)
    azimuth = np.empty(65536, dtype=np.float32)
    side_of = np.empty(number.shape, dtype=np.int8)
    n = 0
    for k in range(first, stop):
        row, col = sources[k]
        origin_row, origin_col = corners.position[k] if from_corners else sources[k]
        edges, bounds, nearest = _walls_around(row, col, all_edges, reach)
        top, bottom = int(max(row - reach, 0.0)), int(min(row + reach + 1.0, height))
        left, right = int(max(col - reach, 0.0)), int(min(col + reach + 1.0, width))
        visible = 0
        for i in range(top, bottom):
            for j in range(left, right):
                side = 0
                if number[i, j] >= 0:
                    side = 1
                    if from_corners:
                        side = tangent_side(i - origin_row, j - origin_col, corners, k)
                    if side != 0:
                        if sees(
                            row,
                            col,
                            bounds,
                            nearest,
                            edges,
                            i - PIXEL_SHIFT,
                            j + PIXEL_SHIFT,
                        ):
                            visible += 1
                        else:
                            side = 0
                side_of[i, j] = side
        while n + visible > target.shape[0]:
            target = np.concatenate((target, target))
            lengths = np.concatenate((lengths, lengths))
            azimuth = np.concatenate((azimuth, azimuth))
        for side in range(sides):
            for i in range(top, bottom):
                for j in range(left, right):
                    if side_of[i, j] == 1 - 2 * side:
                        dr, dc = i - origin_row, j - origin_col
                        target[n] = number[i, j]
                        lengths[n] = np.hypot(dr, dc)
                        azimuth[n] = np.arctan2(dr, dc)
                        n += 1
            start[sides * (k - first) + side + 1] = n
    return start, target[:n].copy(), lengths[:n].copy(), azimuth[:n].copy()
