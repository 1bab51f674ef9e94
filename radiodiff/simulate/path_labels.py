"""Labels of the path search, and what a change of direction loses.

Labels are paths to a point, sorted so that the one a label continues comes first.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np


class ObstructedLoss(NamedTuple):
    """The obstructed loss with angles in radians: a + n log10(l) + sum of f(theta_i)."""

    intercept: float
    slope: float
    offset: float
    per_radian: float
    breakpoint: float


class Labels(NamedTuple):
    """M paths from the transmitter.

    Attributes:
        point: (M,) int32, the zone where the path arrives, or for roof labels the roof point.
        parent: (M,) int32, the label it continues, -1 for the transmitter.
        length: (M,) metres in three dimensions.
        interaction: (M,) dB lost at changes of direction so far.
        azimuth: (M,) radians, direction of arrival in plan.
        elevation: (M,) radians, downwards negative.
    """

    point: np.ndarray
    parent: np.ndarray
    length: np.ndarray
    interaction: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray


@numba.njit(cache=True, nogil=True, error_model="numpy")
def distance_loss(obstructed: ObstructedLoss, length: float) -> float:
    """Return the loss of a path's length, metres, in dB: a + n log10(l)."""
    return obstructed.intercept + obstructed.slope * np.log10(length)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def interaction_loss(obstructed: ObstructedLoss, theta: float) -> float:
    """Return f(theta) in dB."""
    return obstructed.offset + obstructed.per_radian * min(theta, obstructed.breakpoint)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def angle_between(
    azimuth_0: float, elevation_0: float, azimuth_1: float, elevation_1: float
) -> float:
    """Return the angle between two directions in radians."""
    if elevation_0 == 0.0 and elevation_1 == 0.0:
        angle = abs(azimuth_1 - azimuth_0)
        return 2.0 * np.pi - angle if angle > np.pi else angle
    cosine = np.cos(elevation_0) * np.cos(elevation_1) * np.cos(azimuth_1 - azimuth_0) + np.sin(
        elevation_0
    ) * np.sin(elevation_1)
    return np.arccos(min(1.0, max(-1.0, cosine)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def bends_inwards(zone: int, incoming: float, outgoing: float) -> bool:
    """Return whether a path that changes direction at a zone turns towards the building."""
    turn = outgoing - incoming if zone % 2 == 0 else incoming - outgoing
    if turn > np.pi:
        turn -= 2.0 * np.pi
    elif turn <= -np.pi:
        turn += 2.0 * np.pi
    return turn > -1e-6
