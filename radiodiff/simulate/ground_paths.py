"""Paths around building corners at antenna height: the visibility graph and its search.

The graph is directed twice over: a path may pass a corner on its right or on its left, and only
in directions tangent to the building there. Zone 2 k + s is corner k passed with the building on
the right (s = 0) or left (s = 1); links and pixels are grouped by the zone they leave from.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numba
import numpy as np

from radiodiff.simulate.visibility import (
    PIXEL_SHIFT,
    Corners,
    sees,
    sweep,
    tangent_side,
)


@dataclass(frozen=True)
class VisibilityGraph:
    """What all transmitters of a layout share: tangent lines of sight between corners and pixels.

    Attributes:
        link_start: (2 K + 1,) first link of every zone.
        link_zone: (L,) zone in which the link arrives.
        link_length, link_angle: (L,) metres, and the direction in radians.
        pixel_start: (2 K + 1,) first entry of every zone in the pixel lists.
        pixel_index: (N,) index into the outdoor pixels.
        pixel_length, pixel_angle: (N,) metres and radians.
    """

    link_start: np.ndarray
    link_zone: np.ndarray
    link_length: np.ndarray
    link_angle: np.ndarray
    pixel_start: np.ndarray
    pixel_index: np.ndarray
    pixel_length: np.ndarray
    pixel_angle: np.ndarray


def build_graph(corners: Corners, edges: np.ndarray, pixels: np.ndarray) -> VisibilityGraph:
    """Return the visibility graph of a layout.

    Args:
        corners: convex corners of the buildings.
        edges: (E, 4) building edges.
        pixels: (N, 2) integer outdoor pixels.
    """
    return VisibilityGraph(
        *_tangent_lists(
            corners.position,
            corners.outside,
            corners.previous,
            corners.following,
            edges,
            pixels.astype(np.float64),
        )
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tangent_lists(
    position: np.ndarray,
    outside: np.ndarray,
    previous: np.ndarray,
    following: np.ndarray,
    edges: np.ndarray,
    pixels: np.ndarray,
) -> tuple[
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
    np.ndarray,
]:
    count = position.shape[0]
    link_start = np.zeros(2 * count + 1, dtype=np.int64)
    link_zone = np.empty(1024, dtype=np.int32)
    link_length = np.empty(1024)
    link_angle = np.empty(1024)
    pixel_start = np.zeros(2 * count + 1, dtype=np.int64)
    pixel_index = np.empty(65536, dtype=np.int32)
    pixel_length = np.empty(65536, dtype=np.float32)
    pixel_angle = np.empty(65536, dtype=np.float32)
    side_of = np.empty(max(count, pixels.shape[0]), dtype=np.int8)
    links = 0
    entries = 0
    for k in range(count):
        row, col = outside[k]
        ur, uc = previous[k]
        wr, wc = following[k]
        bounds, nearest = sweep(row, col, edges)
        for side in range(2):
            wanted = 1 - 2 * side
            for m in range(count):
                dr, dc = position[m, 0] - position[k, 0], position[m, 1] - position[k, 1]
                length = np.hypot(dr, dc)
                if m == k or length == 0.0:
                    continue
                tolerance = 1e-9 * length
                if tangent_side(dr, dc, ur, uc, wr, wc, tolerance) != wanted:
                    continue
                arrival = tangent_side(
                    dr,
                    dc,
                    previous[m, 0],
                    previous[m, 1],
                    following[m, 0],
                    following[m, 1],
                    tolerance,
                )
                if arrival == 0:
                    continue
                if not sees(row, col, bounds, nearest, edges, outside[m, 0], outside[m, 1]):
                    continue
                if links == link_zone.shape[0]:
                    link_zone = np.concatenate((link_zone, link_zone))
                    link_length = np.concatenate((link_length, link_length))
                    link_angle = np.concatenate((link_angle, link_angle))
                link_zone[links] = 2 * m + (1 - arrival) // 2
                link_length[links] = length
                link_angle[links] = np.arctan2(dr, dc)
                links += 1
            link_start[2 * k + side + 1] = links
        visible = 0
        for i in range(pixels.shape[0]):
            dr, dc = pixels[i, 0] - position[k, 0], pixels[i, 1] - position[k, 1]
            side_of[i] = tangent_side(dr, dc, ur, uc, wr, wc, 1e-9)
            if side_of[i] != 0:
                if sees(
                    row,
                    col,
                    bounds,
                    nearest,
                    edges,
                    pixels[i, 0] - PIXEL_SHIFT,
                    pixels[i, 1] + PIXEL_SHIFT,
                ):
                    visible += 1
                else:
                    side_of[i] = 0
        while entries + visible > pixel_index.shape[0]:
            pixel_index = np.concatenate((pixel_index, pixel_index))
            pixel_length = np.concatenate((pixel_length, pixel_length))
            pixel_angle = np.concatenate((pixel_angle, pixel_angle))
        for side in range(2):
            wanted = 1 - 2 * side
            for i in range(pixels.shape[0]):
                if side_of[i] == wanted:
                    dr, dc = pixels[i, 0] - position[k, 0], pixels[i, 1] - position[k, 1]
                    pixel_index[entries] = i
                    pixel_length[entries] = np.hypot(dr, dc)
                    pixel_angle[entries] = np.arctan2(dr, dc)
                    entries += 1
            pixel_start[2 * k + side + 1] = entries
    return (
        link_start,
        link_zone[:links].copy(),
        link_length[:links].copy(),
        link_angle[:links].copy(),
        pixel_start,
        pixel_index[:entries].copy(),
        pixel_length[:entries].copy(),
        pixel_angle[:entries].copy(),
    )


@dataclass(frozen=True)
class PathTree:
    """Least-loss paths from one transmitter to every link of the graph it uses.

    Label i is a path that ends in zone ``zone[i]``; ``parent[i]`` is the label it continues, or -1
    if it comes straight from the transmitter.
    """

    zone: np.ndarray
    parent: np.ndarray
    length: np.ndarray
    interaction: np.ndarray
    angle: np.ndarray


def search_paths(
    row: int,
    col: int,
    corners: Corners,
    edges: np.ndarray,
    graph: VisibilityGraph,
    law: np.ndarray,
    loss_limit: float,
) -> PathTree:
    """Return the least-loss paths from a transmitter around corners, up to ``loss_limit`` dB.

    A label per directed link, because the next change of direction needs the incoming one.
    """
    return PathTree(
        *_search(
            float(row),
            float(col),
            corners.position,
            corners.outside,
            corners.previous,
            corners.following,
            edges,
            graph.link_start,
            graph.link_zone,
            graph.link_length,
            graph.link_angle,
            law,
            loss_limit,
        )
    )


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def turn(zone: int, incoming: float, outgoing: float) -> float:
    """Return the change of direction in radians towards the building of a zone, in (-pi, pi]."""
    angle = outgoing - incoming if zone % 2 == 0 else incoming - outgoing
    if angle > np.pi:
        angle -= 2.0 * np.pi
    elif angle <= -np.pi:
        angle += 2.0 * np.pi
    return angle


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _search(
    row: float,
    col: float,
    position: np.ndarray,
    outside: np.ndarray,
    previous: np.ndarray,
    following: np.ndarray,
    edges: np.ndarray,
    link_start: np.ndarray,
    link_zone: np.ndarray,
    link_length: np.ndarray,
    link_angle: np.ndarray,
    law: np.ndarray,
    loss_limit: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    intercept, slope, offset, per_radian, breakpoint_ = law
    links = link_zone.shape[0]
    count = position.shape[0]
    # Label of a link: its own index; labels links .. links + K are the transmitter's own links.
    zone = np.full(links + count, -1, dtype=np.int32)
    parent = np.full(links + count, -1, dtype=np.int32)
    length = np.zeros(links + count)
    interaction = np.zeros(links + count)
    angle = np.zeros(links + count)
    loss = np.full(links + count, np.inf)
    done = np.zeros(links + count, dtype=np.bool_)
    queue = [(0.0, 0)]
    queue.clear()

    source_row, source_col = row - PIXEL_SHIFT, col + PIXEL_SHIFT
    bounds, nearest = sweep(source_row, source_col, edges)
    for m in range(count):
        dr, dc = position[m, 0] - row, position[m, 1] - col
        distance = np.hypot(dr, dc)
        if distance == 0.0:
            continue
        side = tangent_side(
            dr,
            dc,
            previous[m, 0],
            previous[m, 1],
            following[m, 0],
            following[m, 1],
            1e-9 * distance,
        )
        if side != 0 and sees(
            source_row, source_col, bounds, nearest, edges, outside[m, 0], outside[m, 1]
        ):
            i = links + m
            zone[i] = 2 * m + (1 - side) // 2
            length[i] = distance
            angle[i] = np.arctan2(dr, dc)
            loss[i] = intercept + slope * np.log10(max(distance, 1.0))
            heappush(queue, (loss[i], i))
    while len(queue) > 0:
        _, i = heappop(queue)
        if done[i]:
            continue
        done[i] = True
        z = zone[i]
        for j in range(link_start[z], link_start[z + 1]):
            if done[j]:
                continue
            theta = turn(z, angle[i], link_angle[j])
            if theta < -1e-6:
                continue
            through = interaction[i] + offset + per_radian * min(max(theta, 0.0), breakpoint_)
            total = length[i] + link_length[j]
            candidate = intercept + slope * np.log10(total) + through
            if candidate < loss[j] and candidate + offset < loss_limit:
                loss[j] = candidate
                zone[j] = link_zone[j]
                parent[j] = i
                length[j] = total
                interaction[j] = through
                angle[j] = link_angle[j]
                heappush(queue, (candidate, j))
    # Keep reached labels, numbered anew in order of loss, so that parents come first.
    reached = np.flatnonzero(done)
    reached = reached[np.argsort(loss[reached], kind="mergesort")]
    number = np.full(links + count, -1, dtype=np.int32)
    for n, i in enumerate(reached):
        number[i] = n
    new_parent = np.empty(len(reached), dtype=np.int32)
    for n, i in enumerate(reached):
        new_parent[n] = number[parent[i]] if parent[i] >= 0 else -1
    return zone[reached], new_parent, length[reached], interaction[reached], angle[reached]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spread_to_pixels(
    zone: np.ndarray,
    length: np.ndarray,
    interaction: np.ndarray,
    angle: np.ndarray,
    pixel_start: np.ndarray,
    pixel_index: np.ndarray,
    pixel_length: np.ndarray,
    pixel_angle: np.ndarray,
    law: np.ndarray,
    loss: np.ndarray,
    label: np.ndarray,
) -> None:
    """Lower the (N,) ``loss`` of every pixel to its best path's, and set ``label`` to that path.

    Labels must be in order of loss; pixels in line of sight carry ``loss`` = -inf and stay so.
    """
    intercept, slope, offset, per_radian, breakpoint_ = law
    zones = pixel_start.shape[0] - 1
    # Labels by zone, in order of loss within and across zones.
    members = np.zeros(zones + 1, dtype=np.int64)
    for z in zone:
        members[z + 1] += 1
    members = np.cumsum(members)
    order = np.argsort(zone, kind="mergesort")
    visited = np.zeros(zones, dtype=np.bool_)
    at_corner = intercept + slope * np.log10(length) + interaction + offset
    for z in zone:
        if visited[z]:
            continue
        visited[z] = True
        first, last = members[z], members[z + 1]
        for n in range(pixel_start[z], pixel_start[z + 1]):
            i = pixel_index[n]
            best = loss[i]
            for m in range(first, last):
                j = order[m]
                if at_corner[j] >= best:
                    break
                theta = turn(z, angle[j], pixel_angle[n])
                if theta < -1e-6:
                    continue
                candidate = (
                    intercept
                    + slope * np.log10(length[j] + pixel_length[n])
                    + interaction[j]
                    + offset
                    + per_radian * min(max(theta, 0.0), breakpoint_)
                )
                if candidate < best:
                    best = candidate
                    label[i] = j
            loss[i] = best
