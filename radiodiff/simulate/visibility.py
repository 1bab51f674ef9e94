"""Exact line of sight among building corners and pixels by an angular sweep around each source.

Buildings are given by their edges (start row, start col, end row, end col) with the building on
the right of start -> end. Around a source in free space the edges cut the plane into angular
sectors, each with one nearest edge; a point is visible if it lies before that edge. Sources and
targets are shifted by far less than the clearance of a lattice: pixels as in the raster rule,
corners outwards, so that paths along walls and past aligned facades exist without a tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

PIXEL_SHIFT = 2.0**-12
"""Pixels are seen at (row - shift, col + shift), the sampling point of the raster rule."""
CORNER_SHIFT = 2.0**-10
"""Corners are seen this far outside their building, along the bisector."""


class Corners(NamedTuple):
    """The K convex building corners of a layout, where paths may change direction.

    Attributes:
        position: (K, 2) row and column.
        outside: (K, 2) the same, shifted out of the building.
        previous, following: (K, 2) vectors along the two walls, away from the corner.
    """

    position: np.ndarray
    outside: np.ndarray
    previous: np.ndarray
    following: np.ndarray


def edges_of(rings: list[np.ndarray]) -> np.ndarray:
    """Return the (E, 4) edges of rings of (row, column) with the building on the right."""
    edges = [np.hstack((ring, np.roll(ring, -1, axis=0))) for ring in rings]
    return np.concatenate(edges) if edges else np.zeros((0, 4))


def convex_corners(rings: list[np.ndarray]) -> Corners:
    """Return the corners of rings of (row, column) where the building's angle is below 180."""
    position, previous, following = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros((0, 2))]
    for ring in rings:
        to_previous = np.roll(ring, 1, axis=0) - ring
        to_following = np.roll(ring, -1, axis=0) - ring
        # Arriving along -to_previous, a right turn keeps the building inside the turn.
        cross = to_following[:, 0] * -to_previous[:, 1] - to_following[:, 1] * -to_previous[:, 0]
        convex = cross > 1e-9
        position.append(ring[convex])
        previous.append(to_previous[convex])
        following.append(to_following[convex])
    corner, u, w = (np.concatenate(parts) for parts in (position, previous, following))
    bisector = u / np.linalg.norm(u, axis=1, keepdims=True) + w / np.linalg.norm(
        w, axis=1, keepdims=True
    )
    norm = np.linalg.norm(bisector, axis=1, keepdims=True)
    return Corners(corner, corner - CORNER_SHIFT * bisector / norm, u, w)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pseudo_angle(dr: float, dc: float) -> float:
    """Return a monotone stand-in for atan2(dr, dc) in [0, 4); 0 for the null vector."""
    if dr == 0.0 and dc == 0.0:
        return 0.0
    p = dc / (abs(dc) + abs(dr))
    if dr >= 0.0:
        return 1.0 - p
    return 3.0 + p


@numba.njit(cache=True, nogil=True, error_model="numpy")
def edges_within(row: float, col: float, reach: float, edges: np.ndarray) -> np.ndarray:
    """Return the edges that a square of half-side ``reach`` around a point may hold a part of."""
    if reach == np.inf:
        return edges
    near = np.empty(edges.shape[0], dtype=np.bool_)
    for e in range(edges.shape[0]):
        near[e] = (
            min(edges[e, 0], edges[e, 2]) <= row + reach
            and max(edges[e, 0], edges[e, 2]) >= row - reach
            and min(edges[e, 1], edges[e, 3]) <= col + reach
            and max(edges[e, 1], edges[e, 3]) >= col - reach
        )
    return edges[near]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sweep(row: float, col: float, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sector bounds (pseudo-angles, sorted) and the nearest edge of every sector.

    Sector k lies between bounds k - 1 and k (cyclically); its edge is -1 if it is open.
    """
    count = edges.shape[0]
    first = np.empty(count)
    last = np.empty(count)
    facing = np.empty(count, dtype=np.int64)
    bounds = np.empty(2 * count)
    f = 0
    for e in range(count):
        r0, c0 = edges[e, 0] - row, edges[e, 1] - col
        r1, c1 = edges[e, 2] - row, edges[e, 3] - col
        # From outside only edges with the source on their left can be hit first.
        if c0 * r1 - r0 * c1 < 0.0:
            facing[f] = e
            first[f] = pseudo_angle(r1, c1)
            last[f] = pseudo_angle(r0, c0)
            bounds[2 * f] = first[f]
            bounds[2 * f + 1] = last[f]
            f += 1
    bounds = np.sort(bounds[: 2 * f])
    # Keep distinct bounds only.
    n = 0
    for k in range(2 * f):
        if n == 0 or bounds[k] > bounds[n - 1]:
            bounds[n] = bounds[k]
            n += 1
    bounds = bounds[:n]
    nearest = np.full(max(n, 1), -1, dtype=np.int64)
    distance = np.full(max(n, 1), np.inf)
    ray_r = np.empty(max(n, 1))
    ray_c = np.empty(max(n, 1))
    for k in range(n):
        low = bounds[k - 1] if k > 0 else bounds[n - 1] - 4.0
        middle = 0.5 * (low + bounds[k])
        if middle < 0.0:
            middle += 4.0
        # Inverse of pseudo_angle.
        if middle < 2.0:
            ray_c[k] = 1.0 - middle
            ray_r[k] = 1.0 - abs(ray_c[k])
        else:
            ray_c[k] = middle - 3.0
            ray_r[k] = abs(ray_c[k]) - 1.0
    for i in range(f):
        e = facing[i]
        r0, c0 = edges[e, 0] - row, edges[e, 1] - col
        er, ec = edges[e, 2] - edges[e, 0], edges[e, 3] - edges[e, 1]
        numerator = c0 * er - r0 * ec
        k = np.searchsorted(bounds, first[i]) + 1
        stop = np.searchsorted(bounds, last[i])
        span = (stop - k) % n + 1
        if first[i] == last[i]:
            span = 0
        for _ in range(span):
            if k >= n:
                k -= n
            t = numerator / (ray_c[k] * er - ray_r[k] * ec)
            if 0.0 < t < distance[k]:
                distance[k] = t
                nearest[k] = e
            k += 1
    return bounds, nearest


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sees(
    row: float,
    col: float,
    bounds: np.ndarray,
    nearest: np.ndarray,
    edges: np.ndarray,
    target_row: float,
    target_col: float,
) -> bool:
    """Return whether the source of a sweep sees a target point."""
    n = bounds.shape[0]
    if n == 0:
        return True
    k = np.searchsorted(bounds, pseudo_angle(target_row - row, target_col - col))
    if k == n:
        k = 0
    e = nearest[k]
    if e < 0:
        return True
    dr, dc = target_row - edges[e, 0], target_col - edges[e, 1]
    return dc * (edges[e, 2] - edges[e, 0]) - dr * (edges[e, 3] - edges[e, 1]) > 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def visible_pixels(row: float, col: float, edges: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the (N,) bool visibility of (N, 2) integer pixels from a source point."""
    bounds, nearest = sweep(row, col, edges)
    seen = np.empty(pixels.shape[0], dtype=np.bool_)
    for i in range(pixels.shape[0]):
        seen[i] = sees(
            row,
            col,
            bounds,
            nearest,
            edges,
            pixels[i, 0] - PIXEL_SHIFT,
            pixels[i, 1] + PIXEL_SHIFT,
        )
    return seen


@numba.njit(cache=True, nogil=True, error_model="numpy")
def tangent_side(dr: float, dc: float, corners: Corners, k: int) -> int:
    """Return the side on which a line of direction d through corner k leaves the building.

    +1 if both walls lie to its right (or on it), -1 if both lie to its left, 0 if the line cuts the
    building, so that no shortest path can run along it.
    """
    tolerance = 1e-9 * (abs(dr) + abs(dc))
    previous = dc * corners.previous[k, 0] - dr * corners.previous[k, 1]
    following = dc * corners.following[k, 0] - dr * corners.following[k, 1]
    if previous >= -tolerance and following >= -tolerance:
        return 1
    if previous <= tolerance and following <= tolerance:
        return -1
    return 0
