"""Loss of links that pass over vehicles: knife edges no higher than the antennas.

A vehicle's roof is at antenna height, so the upper half of the wave always passes. What the box
takes from the lower half depends on how far the wave can go around its sides, that is on its
half width compared with the Fresnel zone where it is crossed.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy.ndimage import distance_transform_edt

from radiodiff.simulate.path_labels import Labels
from radiodiff.units import CARRIER_FREQUENCY_HZ

_WAVELENGTH_M = 299_792_458.0 / CARRIER_FREQUENCY_HZ


def side_clearance(vehicles: np.ndarray) -> np.ndarray:
    """Return the (H, W) distance in metres from each vehicle pixel to the vehicle's outline."""
    distance = np.asarray(distance_transform_edt(vehicles))
    return np.where(vehicles, distance - 0.5, 0.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def knife_edge_db(v: float) -> float:
    """Return the knife-edge loss J(v) in dB for v >= 0 (ITU-R P.526, eq. (31))."""
    return 6.9 + 20.0 * np.log10(np.sqrt((v - 0.1) ** 2 + 1.0) + v - 0.1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def box_loss_db(clearance: float, d1: float, d2: float) -> float:
    """Return the loss in dB of crossing a box whose top touches the line of sight.

    Each side at lateral distance w lets pass 10^(-J(v)/20) of the field, v = w sqrt(2 (d1 + d2) /
    (lambda d1 d2)). The blocked share b = 1 - 2 10^(-J(v)/20) of the lower half-plane is missing
    from the field 1 - b / 2: nothing for a thin box far from both ends, 6 dB for a wide one.

    Args:
        clearance: w, metres from the crossing to the side of the box.
        d1: metres from the crossing to one end of the link.
        d2: metres to the other end.
    """
    d1, d2 = max(d1, 0.5), max(d2, 0.5)
    v = clearance * np.sqrt(2.0 * (d1 + d2) / (_WAVELENGTH_M * d1 * d2))
    blocked = max(0.0, 1.0 - 2.0 * 10.0 ** (-knife_edge_db(v) / 20.0))
    return -20.0 * np.log10(1.0 - 0.5 * blocked)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def link_loss_db(
    row_0: float, col_0: float, row_1: float, col_1: float, clearance: np.ndarray
) -> float:
    """Return the greatest box loss in dB along a straight link between two points.

    Pixels are unit squares around their integer centres; the link visits every square it crosses.
    One box per link counts, so that more vehicle pixels can only add loss.
    """
    height, width = clearance.shape
    dr, dc = row_1 - row_0, col_1 - col_0
    length = np.hypot(dr, dc)
    if length == 0.0:
        return 0.0
    row, col = int(np.floor(row_0 + 0.5)), int(np.floor(col_0 + 0.5))
    step_r, step_c = (1 if dr > 0 else -1), (1 if dc > 0 else -1)
    next_r = (row + 0.5 * step_r - row_0) / dr if dr != 0.0 else np.inf
    next_c = (col + 0.5 * step_c - col_0) / dc if dc != 0.0 else np.inf
    delta_r = abs(1.0 / dr) if dr != 0.0 else np.inf
    delta_c = abs(1.0 / dc) if dc != 0.0 else np.inf
    entry, worst = 0.0, 0.0
    while entry < 1.0:
        leave = min(next_r, next_c, 1.0)
        if 0 <= row < height and 0 <= col < width and clearance[row, col] > 0.0:
            d1 = 0.5 * (entry + leave) * length
            worst = max(worst, box_loss_db(clearance[row, col], d1, length - d1))
        if next_r < next_c:
            row += step_r
            entry, next_r = next_r, next_r + delta_r
        else:
            col += step_c
            entry, next_c = next_c, next_c + delta_c
    return worst


@numba.njit(cache=True, nogil=True, error_model="numpy")
def path_losses_db(
    row: int,
    col: int,
    at_corners: Labels,
    on_roofs: Labels,
    position: np.ndarray,
    pixels: np.ndarray,
    label: np.ndarray,
    clearance: np.ndarray,
) -> np.ndarray:
    """Return the (N,) vehicle loss in dB along each pixel's path, summed over its horizontal links.

    Links to and from roofs leave the vehicles below.

    Args:
        row: transmitter's row.
        col: transmitter's column.
        at_corners: paths to corners.
        on_roofs: paths to roof points, numbered on from ``at_corners``.
        position: (K, 2) corners.
        pixels: (N, 2) receivers.
        label: (N,) label of the pixel's path, -1 for the direct one.
        clearance: (H, W) from :func:`side_clearance`.
    """
    count = at_corners.point.shape[0]
    along = np.full(count + on_roofs.point.shape[0], np.nan)
    total = np.zeros(pixels.shape[0])
    chain = np.empty(along.shape[0] + 1, dtype=np.int64)
    for n in range(pixels.shape[0]):
        # Back to the nearest label whose loss is known, then forward again.
        i, size = label[n], 0
        while i >= 0 and np.isnan(along[i]):
            chain[size] = i
            size += 1
            i = at_corners.parent[i] if i < count else on_roofs.parent[i - count]
        loss = along[i] if i >= 0 else 0.0
        for k in range(size - 1, -1, -1):
            j = chain[k]
            if j < count and i < count:
                start_r, start_c = float(row), float(col)
                if i >= 0:
                    start_r, start_c = position[at_corners.point[i] // 2]
                end_r, end_c = position[at_corners.point[j] // 2]
                loss += link_loss_db(start_r, start_c, end_r, end_c, clearance)
            along[j] = loss
            i = j
        total[n] = loss
        if i < count:
            start_r, start_c = float(row), float(col)
            if i >= 0:
                start_r, start_c = position[at_corners.point[i] // 2]
            total[n] += link_loss_db(
                start_r, start_c, float(pixels[n, 0]), float(pixels[n, 1]), clearance
            )
    return total
