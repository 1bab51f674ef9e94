"""Where paths may cross the roofs: roof points on the walls, and horizontal paths between them.

All roofs have one height. A path climbs in line of sight to a roof point, runs horizontally to
another one and falls in line of sight. It enters a building's roof at the first point and leaves
one at the second; every further wall it passes on its way, at roof height, costs an interaction.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from radiodiff.simulate.path_labels import (
    Labels,
    ObstructedLoss,
    angle_between,
    bends_inwards,
    distance_loss,
    interaction_loss,
)
from radiodiff.simulate.visibility import edges_within
from radiodiff.simulate.visibility_graph import Links

_SHIFT = 1e-3
"""Roof points stand this far outside their wall, to be seen from the ground in front of it."""


def roof_points(edges: np.ndarray, longest_part_m: float, position: float = 0.5) -> np.ndarray:
    """Return (R, 2) roof points: one on each of the equal parts of every wall.

    Args:
        edges: (E, 4) walls, the building on the right of start -> end.
        longest_part_m: walls are divided into as few parts as are no longer than this.
        position: where on its part a point stands, in (0, 1); 0.5 is the middle.
    """
    along = edges[:, 2:] - edges[:, :2]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    outward = np.column_stack((-along[:, 1], along[:, 0])) / length
    parts = np.ceil(length[:, 0] / longest_part_m).astype(np.int64)
    wall = np.repeat(np.arange(len(edges)), parts)
    number = np.arange(len(wall)) - np.repeat(np.cumsum(parts) - parts, parts)
    fraction = (number + position) / parts[wall]
    return edges[wall, :2] + _SHIFT * outward[wall] + fraction[:, None] * along[wall]


class RoofPairs(NamedTuple):
    """Horizontal paths between roof points: point a holds entries start[a] to start[a + 1].

    Attributes:
        start: (R + 1,) int64.
        target: (N,) int32, the other roof point, ascending for every point.
        back: (N,) int64, the entry of the way back.
        crossings: (N,) int32, the walls between the two, at least 1.
    """

    start: np.ndarray
    target: np.ndarray
    back: np.ndarray
    crossings: np.ndarray


def horizontal_losses(crossings: np.ndarray, crossing_db: float) -> np.ndarray:
    """Return the loss in dB of horizontal paths, given the walls they cross.

    A path over one convex building passes two walls, which its two changes of direction stand for;
    every wall more costs ``crossing_db``.
    """
    return crossing_db * np.maximum(crossings - 2, 0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def roof_pairs(points: np.ndarray, edges: np.ndarray, reach: float = np.inf) -> RoofPairs:
    """Return the horizontal paths between (R, 2) points off the walls, with the walls they cross.

    Points without a wall between them have no path: it would never touch a roof. Nor do points
    further apart than ``reach`` in rows or columns.
    """
    count = points.shape[0]
    counts = np.zeros(count, dtype=np.int32)
    of = np.empty(1024, dtype=np.int32)
    to = np.empty(1024, dtype=np.int32)
    walls = np.empty(1024, dtype=np.int32)
    n = 0
    for i in range(count):
        ar, ac = points[i]
        near = np.empty(count - i - 1, dtype=np.int32)
        k = 0
        for j in range(i + 1, count):
            if max(abs(points[j, 0] - ar), abs(points[j, 1] - ac)) <= reach:
                near[k] = j
                k += 1
        local = edges_within(ar, ac, reach, edges)
        counts[:k] = 0
        for e in range(local.shape[0]):
            pr, pc = local[e, 0] - ar, local[e, 1] - ac
            qr, qc = local[e, 2] - ar, local[e, 3] - ac
            side_a = pc * qr - pr * qc
            for m in range(k):
                dr, dc = points[near[m], 0] - ar, points[near[m], 1] - ac
                if (dc * pr - dr * pc > 0.0) != (dc * qr - dr * qc > 0.0):
                    side_b = (qc - pc) * (dr - pr) - (qr - pr) * (dc - pc)
                    # a and b lie on different sides of the wall's line.
                    if (side_a > 0.0) != (side_b > 0.0):
                        counts[m] += 1
        while n + k > of.shape[0]:
            of, to = np.concatenate((of, of)), np.concatenate((to, to))
            walls = np.concatenate((walls, walls))
        for m in range(k):
            if counts[m] > 0:
                of[n], to[n], walls[n] = i, near[m], counts[m]
                n += 1
    return _both_ways(of[:n], to[:n], walls[:n], count)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _both_ways(of: np.ndarray, to: np.ndarray, walls: np.ndarray, count: int) -> RoofPairs:
    """Return pairs of < to, in ascending order, as entries of both points."""
    start = np.zeros(count + 1, dtype=np.int64)
    for m in range(of.shape[0]):
        start[of[m] + 1] += 1
        start[to[m] + 1] += 1
    start = np.cumsum(start)
    target = np.empty(2 * of.shape[0], dtype=np.int32)
    back = np.empty(2 * of.shape[0], dtype=np.int64)
    crossings = np.empty(2 * of.shape[0], dtype=np.int32)
    filled = start[:-1].copy()
    returning = np.empty(of.shape[0], dtype=np.int64)
    for m in range(of.shape[0]):  # the lower point comes first among the entries of the higher
        entry = filled[to[m]]
        target[entry], crossings[entry], returning[m] = of[m], walls[m], entry
        filled[to[m]] += 1
    for m in range(of.shape[0]):
        entry = filled[of[m]]
        target[entry], crossings[entry] = to[m], walls[m]
        back[entry], back[returning[m]] = returning[m], entry
        filled[of[m]] += 1
    return RoofPairs(start, target, back, crossings)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def paths_over_roofs(
    row: int,
    col: int,
    roof: np.ndarray,
    pairs: RoofPairs,
    horizontal_loss: np.ndarray,
    height: float,
    seen: np.ndarray,
    labels: Labels,
    loss: np.ndarray,
    climbs: Links,
    obstructed: ObstructedLoss,
    loss_limit: float,
) -> Labels:
    """Return the paths up to a roof point and on to a second one, sorted by that and by loss."""
    count = roof.shape[0]
    # 1. Arrivals at the first roof point, one per link, only those that can still win there.
    most = interaction_loss(obstructed, np.pi) - obstructed.offset
    capacity = count + climbs.target.shape[0] * 4
    at = np.empty(capacity, dtype=np.int32)
    parent = np.empty(capacity, dtype=np.int32)
    length = np.empty(capacity)
    lost = np.empty(capacity)
    azimuth = np.empty(capacity)
    elevation = np.empty(capacity)
    arrival_loss = np.empty(capacity)
    best = np.full(count, np.inf)
    n = 0
    for a in range(count):
        if seen[a]:
            dr, dc = roof[a, 0] - row, roof[a, 1] - col
            plan = np.hypot(dr, dc)
            at[n], parent[n], lost[n] = a, -1, 0.0
            length[n], azimuth[n] = np.hypot(plan, height), np.arctan2(dr, dc)
            elevation[n] = np.arctan2(height, plan)
            arrival_loss[n] = distance_loss(obstructed, length[n])
            best[a] = arrival_loss[n]
            n += 1
    for i in range(loss.shape[0]):
        if loss[i] == np.inf:
            continue
        zone = labels.point[i]
        for j in range(climbs.start[zone], climbs.start[zone + 1]):
            a = climbs.target[j]
            if not bends_inwards(zone, labels.azimuth[i], climbs.azimuth[j]):
                continue
            plan = float(climbs.length[j])
            rise = np.arctan2(height, plan)
            theta = angle_between(labels.azimuth[i], 0.0, climbs.azimuth[j], rise)
            lost_here = labels.interaction[i] + interaction_loss(obstructed, theta)
            length_here = labels.length[i] + np.hypot(plan, height)
            here = distance_loss(obstructed, length_here) + lost_here
            if here > best[a] + most or here + 2.0 * obstructed.offset > loss_limit:
                continue
            if n == at.shape[0]:
                break
            best[a] = min(best[a], here)
            at[n], parent[n], length[n], lost[n] = a, i, length_here, lost_here
            azimuth[n], elevation[n], arrival_loss[n] = climbs.azimuth[j], rise, here
            n += 1
    # 2. Level paths to every second roof point: the best arrival per pair of points.
    # Entry p of pairs stands for the path to its own point from its target.
    pair_loss = np.full(pairs.target.shape[0], np.inf)
    pair_arrival = np.full(pairs.target.shape[0], -1, dtype=np.int32)
    for m in range(n):
        a = at[m]
        if arrival_loss[m] > best[a] + most:
            continue
        for e in range(pairs.start[a], pairs.start[a + 1]):
            if arrival_loss[m] + horizontal_loss[e] + 2.0 * obstructed.offset > loss_limit:
                continue
            b, p = pairs.target[e], pairs.back[e]
            dr, dc = roof[b, 0] - roof[a, 0], roof[b, 1] - roof[a, 1]
            theta = angle_between(azimuth[m], elevation[m], np.arctan2(dr, dc), 0.0)
            candidate = (
                distance_loss(obstructed, length[m] + np.hypot(dr, dc))
                + lost[m]
                + horizontal_loss[e]
                + interaction_loss(obstructed, theta)
            )
            if candidate < pair_loss[p]:
                pair_loss[p] = candidate
                pair_arrival[p] = m
    # 3. At every second point keep what can still win below, in order of loss.
    kept = 0
    for b in range(count):
        of_point = pair_loss[pairs.start[b] : pairs.start[b + 1]]
        if of_point.shape[0] == 0:
            continue
        bound = of_point.min() + most
        for p in range(of_point.shape[0]):
            if of_point[p] > bound or of_point[p] + obstructed.offset > loss_limit:
                of_point[p] = np.inf
            elif of_point[p] < np.inf:
                kept += 1
    result = Labels(
        np.empty(kept, dtype=np.int32),
        np.empty(kept, dtype=np.int32),
        np.empty(kept),
        np.empty(kept),
        np.empty(kept),
        np.zeros(kept),
    )
    k = 0
    for b in range(count):
        begin = pairs.start[b]
        for p in begin + np.argsort(pair_loss[begin : pairs.start[b + 1]]):
            if pair_loss[p] == np.inf:
                break
            m, a = pair_arrival[p], pairs.target[p]
            dr, dc = roof[b, 0] - roof[a, 0], roof[b, 1] - roof[a, 1]
            result.point[k] = b
            result.parent[k] = parent[m]
            result.length[k] = length[m] + np.hypot(dr, dc)
            result.interaction[k] = pair_loss[p] - distance_loss(obstructed, result.length[k])
            result.azimuth[k] = np.arctan2(dr, dc)
            k += 1
    return result
