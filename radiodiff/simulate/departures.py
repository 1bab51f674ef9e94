"""Where the dominant path of every pixel leaves its transmitter, for antennas with a pattern."""

from __future__ import annotations

import numpy as np

from radiodiff.simulate.path_labels import Labels


def departure_bearings(
    transmitter: tuple[int, int],
    pixels: np.ndarray,
    path: np.ndarray,
    at_corners: Labels,
    on_roofs: Labels,
    roof: np.ndarray,
) -> np.ndarray:
    """Return in which direction each pixel's path leaves the transmitter.

    A path that climbs to the roofs at once counts as leaving towards its second roof point, since
    the first is not kept; over one building the two lie close to one line.

    Args:
        transmitter: row and column.
        pixels: (N, 2) rows and columns.
        path: (N,) number of the label a pixel's path ends with; negative for a straight one.
        at_corners: paths to corners, numbered from 0.
        on_roofs: paths to roof points, numbered after them.
        roof: (R, 2) roof points.

    Returns:
        (N,) degrees clockwise from north, which is row 0, in [0, 360).
    """
    d_row, d_col = (pixels - np.array(transmitter)).T.astype(np.float64)
    parent = np.concatenate([at_corners.parent, on_roofs.parent])
    first = np.arange(len(parent))
    while len(first) and (parent[first] >= 0).any():
        first = np.where(parent[first] >= 0, parent[first], first)
    to_roof = roof[on_roofs.point] - np.array(transmitter)
    leaving_row = np.concatenate([np.sin(at_corners.azimuth), to_roof[:, 0]])
    leaving_col = np.concatenate([np.cos(at_corners.azimuth), to_roof[:, 1]])
    bent = path >= 0
    label = first[path[bent]]
    d_row[bent], d_col[bent] = leaving_row[label], leaving_col[label]
    return np.asarray(np.rad2deg(np.arctan2(d_col, -d_row)) % 360.0)
