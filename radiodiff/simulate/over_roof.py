"""Where paths may cross the roofs: roof points on the walls, and level paths between them.

All roofs have one height. A path climbs in line of sight to a roof point, runs level to another one
and falls in line of sight. It enters a building's roof at the first point and leaves one at the
second; every further wall it passes on its way, at roof height, costs an interaction.
"""

from __future__ import annotations

import numba
import numpy as np

_SHIFT = 1e-3
"""Roof points stand this far outside their wall, to be seen from the ground in front of it."""


def roof_points(edges: np.ndarray, longest_part_m: float) -> np.ndarray:
    """Return (R, 2) roof points: the middles of equal parts of every wall.

    Args:
        edges: (E, 4) walls, the building on the right of start -> end.
        longest_part_m: walls are divided into as few parts as are no longer than this.
    """
    along = edges[:, 2:] - edges[:, :2]
    length = np.linalg.norm(along, axis=1, keepdims=True)
    outward = np.column_stack((-along[:, 1], along[:, 0])) / length
    parts = np.ceil(length[:, 0] / longest_part_m).astype(np.int64)
    wall = np.repeat(np.arange(len(edges)), parts)
    number = np.arange(len(wall)) - np.repeat(np.cumsum(parts) - parts, parts)
    fraction = (number + 0.5) / parts[wall]
    return edges[wall, :2] + _SHIFT * outward[wall] + fraction[:, None] * along[wall]


def level_losses(crossings: np.ndarray, crossing_db: float) -> np.ndarray:
    """Return the (R, R) loss in dB of level paths, given the walls they cross.

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
