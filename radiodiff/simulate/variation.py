"""Layouts whose truth is not what the engine says: for networks that correct the engine.

A network that is given the engine's map as a prompt sees no error of it on simulated maps unless
the simulation differs from what the engine presumes. A varied layout therefore has constants of its
own, and its written footprints are not exactly those that the radio maps were computed from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from pydantic import Field, model_validator
from shapely.geometry import Polygon

from radiodiff.config import Settings
from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import polygon_parts
from radiodiff.simulate.path_loss_model import PathLossModel, constants

Range = tuple[float, float]

MIN_EXPONENT_SHARE = 0.2
"""An exponent or a loss never falls below this share of its nominal value."""
MIN_POSITION, MAX_POSITION = 0.1, 0.9
"""Where on its part of a wall a roof point may stand."""


class Variation(Settings):
    """How far the truth of a layout differs from the engine's constants and the written footprints.

    Standard deviations are those of normal distributions around the fitted constants of
    :class:`radiodiff.simulate.path_loss_model.PathLossModel`.
    """

    path_loss_share: float = Field(ge=0, le=1)
    """Share of the layouts with constants of their own."""
    footprint_share: float = Field(ge=0, le=1)
    """Share of the layouts whose written footprints differ from those of the simulation."""
    exponent_std_db: float = Field(ge=0)
    """Of both exponents, in dB per decade."""
    diffraction_std: float = Field(ge=0)
    """Of offset and slope of the loss of a diffraction, as a share of them."""
    breakpoint_std_degree: float = Field(ge=0)
    roof_height_std_m: float = Field(ge=0)
    roof_part_m: Range
    """Range of the longest part of a wall that has one roof point, uniform in the logarithm."""
    roof_crossing_db: Range
    """Range of the loss of every wall beyond two that a path over the roofs crosses, uniform."""
    no_roof_share: float = Field(ge=0, le=1)
    """Share of the layouts with constants of their own that have no paths over roofs."""
    small_building_m2: float = Field(gt=0)
    """Buildings up to this area may be missing in the footprints, or in the truth."""
    missing_share: float = Field(ge=0, le=1)
    """Share of the small buildings that a varied footprint lacks."""
    extra_share: float = Field(ge=0, le=1)
    """Share of the small buildings that the truth lacks."""
    moved_share: float = Field(ge=0, le=1)
    """Share of a varied footprint's buildings of which one vertex is off by one pixel."""

    @model_validator(mode="after")
    def _ordered_ranges(self) -> Variation:
        for name in ("roof_part_m", "roof_crossing_db"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: expected [low, high] with 0 < low <= high")
        if self.missing_share + self.extra_share > 1:
            raise ValueError("missing_share and extra_share together exceed 1")
        return self

    def draw_path_loss(self, rng: np.random.Generator) -> PathLossModel:
        """Draw the constants of one layout's truth."""
        nominal = constants().path_loss_model
        if rng.random() >= self.path_loss_share:
            return nominal
        normal = rng.standard_normal(6)
        changes = {
            "line_of_sight_db_per_decade": self.exponent_std_db * normal[0],
            "obstructed_db_per_decade": self.exponent_std_db * normal[1],
            "interaction_offset_db": self.diffraction_std
            * normal[2]
            * nominal.interaction_offset_db,
            "interaction_db_per_degree": self.diffraction_std
            * normal[3]
            * nominal.interaction_db_per_degree,
            "interaction_breakpoint_degree": self.breakpoint_std_degree * normal[4],
            "roof_height_m": self.roof_height_std_m * normal[5],
        }
        drawn: dict[str, Any] = {}
        for name, change in changes.items():
            value = getattr(nominal, name)
            drawn[name] = max(MIN_EXPONENT_SHARE * value, value + change)
        drawn["interaction_breakpoint_degree"] = min(180.0, drawn["interaction_breakpoint_degree"])
        low, high = np.log(self.roof_part_m)
        drawn["roof_part_m"] = float(np.exp(rng.uniform(low, high)))
        drawn["roof_point_position"] = rng.uniform(MIN_POSITION, MAX_POSITION)
        drawn["roof_crossing_db"] = rng.uniform(*self.roof_crossing_db)
        drawn["over_roofs"] = rng.random() >= self.no_roof_share
        return PathLossModel(**(nominal.model_dump() | drawn))

    def draw_footprints(
        self, city: City, rng: np.random.Generator
    ) -> tuple[tuple[Polygon, ...], tuple[Polygon, ...]]:
        """Draw what the truth of a layout is made of, and what is written about it.

        Args:
            city: the layout.
            rng: source of randomness.

        Returns:
            The footprints of the simulation, and the written ones.
        """
        if rng.random() >= self.footprint_share:
            return city.buildings, city.buildings
        truth, written = [], []
        for building in city.buildings:
            fate, moved = rng.random(2)
            small = building.area <= self.small_building_m2
            missing = small and fate < self.missing_share
            extra = small and not missing and fate < self.missing_share + self.extra_share
            if not extra:
                truth.append(building)
            if not missing:
                shown = building
                if moved < self.moved_share:
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
