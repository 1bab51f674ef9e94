"""Where paths may cross the roofs: roof points on the walls, and horizontal paths between them.

All roofs have one height. A path climbs in line of sight to a roof point, runs horizontally to
another one and falls in line of sight. It enters a building's roof at the first point and leaves
one at the second; every further wall it passes on its way, at roof height, costs an interaction.
"""

from __future__ import annotations

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


def level_losses(crossings: np.ndarray, crossing_db: float) -> np.ndarray:
    """Return the (R, R) loss in dB of horizontal paths, given the walls they cross.

    A path over one convex building passes two walls, which its two changes of direction stand for;
    every wall more costs ``crossing_db``. Without a wall between them two points have no path: it
    would never touch a roof.
    """
    return np.where(crossings == 0, np.inf, crossing_db * np.maximum(crossings - 2, 0))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def wall_crossings(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the (R, R) number of walls between every two of (R, 2) points off the walls."""
    count = points.shape[0]
    crossings = np.zeros((count, count), dtype=np.int32)
    for i in range(count):
        ar, ac = points[i]
        for e in range(edges.shape[0]):
            pr, pc = edges[e, 0] - ar, edges[e, 1] - ac
            qr, qc = edges[e, 2] - ar, edges[e, 3] - ac
            side_a = pc * qr - pr * qc
            for j in range(i + 1, count):
                dr, dc = points[j, 0] - ar, points[j, 1] - ac
                if (dc * pr - dr * pc > 0.0) != (dc * qr - dr * qc > 0.0):
                    side_b = (qc - pc) * (dr - pr) - (qr - pr) * (dc - pc)
                    # a and b lie on different sides of the wall's line.
                    if (side_a > 0.0) != (side_b > 0.0):
                        crossings[i, j] += 1
                        crossings[j, i] += 1
    return crossings


@numba.njit(cache=True, nogil=True, error_model="numpy")
def paths_over_roofs(
    row: int,
    col: int,
    roof: np.ndarray,
    level: np.ndarray,
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
    pair_loss = np.full((count, count), np.inf)
    pair_arrival = np.full((count, count), -1, dtype=np.int32)
    for m in range(n):
        a = at[m]
        if arrival_loss[m] > best[a] + most:
            continue
        for b in range(count):
            if level[a, b] == np.inf:
                continue
            dr, dc = roof[b, 0] - roof[a, 0], roof[b, 1] - roof[a, 1]
            theta = angle_between(azimuth[m], elevation[m], np.arctan2(dr, dc), 0.0)
            candidate = (
                distance_loss(obstructed, length[m] + np.hypot(dr, dc))
                + lost[m]
                + level[a, b]
                + interaction_loss(obstructed, theta)
            )
            if candidate < pair_loss[b, a]:
                pair_loss[b, a] = candidate
                pair_arrival[b, a] = m
    # 3. At every second point keep what can still win below, in order of loss.
    kept = 0
    for b in range(count):
        bound = pair_loss[b].min() + most
        for a in range(count):
            if pair_loss[b, a] > bound or pair_loss[b, a] + obstructed.offset > loss_limit:
                pair_loss[b, a] = np.inf
            elif pair_loss[b, a] < np.inf:
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
        for a in np.argsort(pair_loss[b]):
            if pair_loss[b, a] == np.inf:
                break
            m = pair_arrival[b, a]
            dr, dc = roof[b, 0] - roof[a, 0], roof[b, 1] - roof[a, 1]
            result.point[k] = b
            result.parent[k] = parent[m]
            result.length[k] = length[m] + np.hypot(dr, dc)
            result.interaction[k] = pair_loss[b, a] - distance_loss(obstructed, result.length[k])
            result.azimuth[k] = np.arctan2(dr, dc)
            k += 1
    return result
