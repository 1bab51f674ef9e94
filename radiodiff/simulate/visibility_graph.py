"""The lines of sight that all transmitters of a layout share.

A path may pass a corner on its right or on its left, and only in directions tangent to the building
there. Zone 2 k + s is corner k passed with the building on the right (s = 0) or left (s = 1); what
leaves a corner is grouped by zone. Roof points see corners and pixels at the foot of the walls.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from radiodiff.simulate.visibility import (
    PIXEL_SHIFT,
    Corners,
    is_before_edge,
    pseudo_angle,
    sector_near,
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
    corners: Corners, roof: np.ndarray, edges: np.ndarray, pixels: np.ndarray
) -> VisibilityGraph:
    """Return all links of a layout.

    Args:
        corners: the K convex corners of the buildings.
        roof: (R, 2) roof points, shifted out of their walls.
        edges: (E, 4) building edges.
        pixels: (N, 2) integer outdoor pixels.
    """
    targets = pixels.astype(np.float64)
    corner_to_corner = Links(*_links_to_corners(corners.outside, True, corners, edges))
    roof_to_corner = Links(*_links_to_corners(roof, False, corners, edges))
    return VisibilityGraph(
        corner_to_corner,
        Links(*_links_to_pixels(corners.outside, True, corners, edges, targets)),
        _reverse(roof_to_corner, 2 * len(corners.position)),
        roof_to_corner,
        Links(*_links_to_pixels(roof, False, corners, edges, targets)),
    )


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
def _links_to_corners(
    sources: np.ndarray, from_corners: bool, corners: Corners, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the links to corners; from corners they are grouped by zone and tangent there."""
    sides = 2 if from_corners else 1
    count = corners.position.shape[0]
    start = np.zeros(sides * sources.shape[0] + 1, dtype=np.int64)
    target = np.empty(1024, dtype=np.int32)
    lengths = np.empty(1024, dtype=np.float32)
    azimuth = np.empty(1024, dtype=np.float32)
    n = 0
    for k in range(sources.shape[0]):
        row, col = sources[k]
        origin_row, origin_col = corners.position[k] if from_corners else sources[k]
        bounds, nearest = sweep(row, col, edges)
        for side in range(sides):
            for m in range(count):
                dr = corners.position[m, 0] - origin_row
                dc = corners.position[m, 1] - origin_col
                length = np.hypot(dr, dc)
                if length < 1e-6:
                    continue
                if from_corners and tangent_side(dr, dc, corners, k) != 1 - 2 * side:
                    continue
                arrival = tangent_side(dr, dc, corners, m)
                if arrival == 0 or not sees(
                    row, col, bounds, nearest, edges, corners.outside[m, 0], corners.outside[m, 1]
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
            start[sides * k + side + 1] = n
    return start, target[:n].copy(), lengths[:n].copy(), azimuth[:n].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _links_to_pixels(
    sources: np.ndarray,
    from_corners: bool,
    corners: Corners,
    edges: np.ndarray,
    pixels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the links to pixels; from corners they are grouped by zone and tangent there."""
    sides = 2 if from_corners else 1
    start = np.zeros(sides * sources.shape[0] + 1, dtype=np.int64)
    target = np.empty(65536, dtype=np.int32)
    lengths = np.empty(65536, dtype=np.float32)
    azimuth = np.empty(65536, dtype=np.float32)
    seen = np.empty(pixels.shape[0], dtype=np.int32)
    side_of = np.empty(pixels.shape[0], dtype=np.int8)
    n = 0
    for k in range(sources.shape[0]):
        row, col = sources[k]
        origin_row, origin_col = corners.position[k] if from_corners else sources[k]
        bounds, nearest = sweep(row, col, edges)
        visible, sector = 0, 0
        for i in range(pixels.shape[0]):
            side = 1
            if from_corners:
                side = tangent_side(
                    pixels[i, 0] - origin_row, pixels[i, 1] - origin_col, corners, k
                )
            if side != 0:
                target_row, target_col = pixels[i, 0] - PIXEL_SHIFT, pixels[i, 1] + PIXEL_SHIFT
                # The pixels of a row follow each other, and so do the sectors that they are in.
                angle = pseudo_angle(target_row - row, target_col - col)
                sector = sector_near(bounds, angle, sector)
                if is_before_edge(sector, nearest, edges, target_row, target_col):
                    seen[visible], side_of[visible] = i, side
                    visible += 1
        while n + visible > target.shape[0]:
            target = np.concatenate((target, target))
            lengths = np.concatenate((lengths, lengths))
            azimuth = np.concatenate((azimuth, azimuth))
        for side in range(sides):
            for v in range(visible):
                if side_of[v] == 1 - 2 * side:
                    i = seen[v]
                    dr, dc = pixels[i, 0] - origin_row, pixels[i, 1] - origin_col
                    target[n] = i
                    lengths[n] = np.hypot(dr, dc)
                    azimuth[n] = np.arctan2(dr, dc)
                    n += 1
            start[sides * k + side + 1] = n
    return start, target[:n].copy(), lengths[:n].copy(), azimuth[:n].copy()
