"""Layouts whose truth is not what the engine says: for networks that correct the engine.

A network that is given the engine's map as a prompt sees no error of it on simulated maps unless
the simulation differs from what the engine presumes. A varied layout therefore has constants of its
own, and its written footprints are not exactly those that the radio maps were computed from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon

from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import polygon_parts
from radiodiff.simulate.path_loss_model import PathLossModel, constants
from radiodiff.simulate.settings import Variation

MIN_EXPONENT_SHARE = 0.2
"""An exponent or a loss never falls below this share of its nominal value."""
MIN_POSITION, MAX_POSITION = 0.1, 0.9
"""Where on its part of a wall a roof point may stand."""


def draw_path_loss(variation: Variation, rng: np.random.Generator) -> PathLossModel:
    """Draw the constants of one layout's truth."""
    nominal = constants().path_loss_model
    if rng.random() >= variation.path_loss_share:
        return nominal
    normal = rng.standard_normal(6)
    changes = {
        "line_of_sight_db_per_decade": variation.exponent_std_db * normal[0],
        "obstructed_db_per_decade": variation.exponent_std_db * normal[1],
        "interaction_offset_db": variation.diffraction_std
        * normal[2]
        * nominal.interaction_offset_db,
        "interaction_db_per_degree": variation.diffraction_std
        * normal[3]
        * nominal.interaction_db_per_degree,
        "interaction_breakpoint_degree": variation.breakpoint_std_degree * normal[4],
        "roof_height_m": variation.roof_height_std_m * normal[5],
    }
    drawn: dict[str, Any] = {}
    for name, change in changes.items():
        value = getattr(nominal, name)
        drawn[name] = max(MIN_EXPONENT_SHARE * value, value + change)
    drawn["interaction_breakpoint_degree"] = min(180.0, drawn["interaction_breakpoint_degree"])
    low, high = np.log(variation.roof_part_m)
    drawn["roof_part_m"] = float(np.exp(rng.uniform(low, high)))
    drawn["roof_point_position"] = rng.uniform(MIN_POSITION, MAX_POSITION)
    drawn["roof_crossing_db"] = rng.uniform(*variation.roof_crossing_db)
    drawn["over_roofs"] = rng.random() >= variation.no_roof_share
    return PathLossModel(**(nominal.model_dump() | drawn))


def draw_footprints(
    variation: Variation, city: City, rng: np.random.Generator
) -> tuple[tuple[Polygon, ...], tuple[Polygon, ...]]:
    """Draw what the truth of a layout is made of, and what is written about it.

    Args:
        variation: how far both differ.
        city: the layout.
        rng: source of randomness.

    Returns:
        The footprints of the simulation, and the written ones.
    """
    if rng.random() >= variation.footprint_share:
        return city.buildings, city.buildings
    truth, written = [], []
    for building in city.buildings:
        fate, moved = rng.random(2)
        small = building.area <= variation.small_building_m2
        missing = small and fate < variation.missing_share
        extra = small and not missing and fate < variation.missing_share + variation.extra_share
        if not extra:
            truth.append(building)
        if not missing:
            shown = building
            if moved < variation.moved_share:
                shown = _move_vertex(building, city.frame, rng)
            written.append(shown)
    return tuple(truth), tuple(written)


def _move_vertex(building: Polygon, frame: Polygon, rng: np.random.Generator) -> Polygon:
    """Return the polygon with one vertex off by one pixel, if that is a polygon on the map."""
    ring = np.asarray(building.exterior.coords)[:-1].copy()
    vertex = rng.integers(len(ring))
    ring[vertex, rng.integers(2)] += rng.choice((-1.0, 1.0))
    moved = shapely.Polygon(ring, [hole.coords for hole in building.interiors])
    if not moved.is_valid or len(polygon_parts(moved)) != 1 or not frame.covers(moved):
        return building
    return moved
