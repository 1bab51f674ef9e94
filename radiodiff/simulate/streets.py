"""Streets, and the vehicles that stand and drive along them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from radiodiff.simulate.geometry import polygon_parts

VEHICLE_LENGTH_M, VEHICLE_WIDTH_M = 5.0, 2.0
PARKING_SLOT_M = 6.0
JUNCTION_M = 6.0
"""No vehicle is parked this close to the end of a street."""


@dataclass(frozen=True)
class Street:
    """A street: its axis (x, y) and the width of its carriageway, all in metres."""

    axis: LineString
    carriageway: float

    def surface(self) -> list[Polygon]:
        """Return the area that vehicles use."""
        return polygon_parts(self.axis.buffer(self.carriageway / 2, cap_style="flat"))


def park_and_drive(
    rng: np.random.Generator,
    streets: Iterable[Street],
    buildings: Iterable[Polygon],
    frame: Polygon,
) -> list[Polygon]:
    """Park vehicles along both kerbs and let others drive in the two lanes.

    How full the streets are differs from call to call. Real layouts hold about 100 vehicles.

    Args:
        rng: source of randomness.
        streets: where vehicles may be.
        buildings: which they keep clear of.
        frame: rectangle of the map; every vehicle is inside as a whole.

    Returns:
        rectangles of 5 m x 2 m that do not touch each other.
    """
    occupancy, headway = rng.uniform(0.02, 0.2), rng.uniform(25.0, 100.0)
    candidates: list[Polygon] = []
    for street in streets:
        # On a narrow street the parked vehicles stand half on the pavement.
        kerb = max(street.carriageway / 2 - VEHICLE_WIDTH_M / 2, 1.5 * VEHICLE_WIDTH_M)
        lane = max(street.carriageway / 4 - 0.5, 0.65 * VEHICLE_WIDTH_M)
        slots = np.arange(JUNCTION_M, street.axis.length - JUNCTION_M, PARKING_SLOT_M)
        for side in (-1, 1):
            parked = slots[rng.random(len(slots)) < occupancy]
            candidates += [_vehicle(street.axis, along, side * kerb) for along in parked]
            along = rng.uniform(0.0, headway)
            while along < street.axis.length:
                candidates.append(_vehicle(street.axis, along, side * lane))
                along += VEHICLE_LENGTH_M + rng.exponential(headway)
    return _without_contact(candidates, shapely.union_all(list(buildings)), frame)


def _vehicle(axis: LineString, along: float, offset: float) -> Polygon:
    """Return the vehicle ``along`` metres down the axis, ``offset`` metres to its side."""
    back, front = (
        np.array(axis.interpolate(np.clip(along + step, 0.0, axis.length)).coords[0])
        for step in (-1.0, 1.0)
    )
    ahead = (front - back) / np.linalg.norm(front - back)
    aside = np.array([-ahead[1], ahead[0]])
    centre = (front + back) / 2 + offset * aside
    length, width = ahead * VEHICLE_LENGTH_M / 2, aside * VEHICLE_WIDTH_M / 2
    return Polygon(
        [
            centre + length + width,
            centre - length + width,
            centre - length - width,
            centre + length - width,
        ]
    )


def _without_contact(
    candidates: list[Polygon], built_up: BaseGeometry, frame: Polygon
) -> list[Polygon]:
    """Return the candidates inside the frame that touch no building and no earlier candidate."""
    shapely.prepare(built_up)
    clear = [v for v in candidates if frame.contains(v) and not built_up.intersects(v)]
    tree = shapely.STRtree(clear)
    dropped: set[int] = set()
    for index, vehicle in enumerate(clear):
        neighbours = tree.query(vehicle, predicate="intersects")
        if any(other < index and other not in dropped for other in neighbours):
            dropped.add(index)
    return [vehicle for index, vehicle in enumerate(clear) if index not in dropped]
