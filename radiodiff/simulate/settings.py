"""Which cities are simulated, and how."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from radiodiff.config import Settings
from radiodiff.data.settings import Simulation
from radiodiff.executors import Executor

MIN_SIZE, MAX_SIZE = 32, 1024
"""Sides of a layout in pixels."""

Range = tuple[float, float]
"""Least and greatest value."""


class GeoJsonCity(Settings):
    """A custom city in longitude and latitude, cut into tiles."""

    buildings: Path
    """GeoJSON file with the footprints."""
    roads: Path | None = None
    """GeoJSON file with the road axes; it may be the same one."""
    vehicles: Path | None = None
    """GeoJSON file with the outlines of vehicles; without it they are drawn along the roads."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees of the part to use; without it, all of the buildings."""
    overlap: int = Field(default=0, ge=0)
    """Pixels that neighbouring tiles have in common."""

    @property
    def files(self) -> list[Path]:
        """The files the city is read from."""
        return [path for path in (self.buildings, self.roads, self.vehicles) if path is not None]


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
    """Of the angle from which on a diffraction loses no more."""
    roof_height_std_m: float = Field(ge=0)
    """Of the height of the roofs above the antennas."""
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


class SimulateConfig(Settings):
    """A simulated dataset, of either procedural layouts or the tiles of a custom city."""

    output: Path
    """Root of the tree. A tree begun with the same settings is continued."""
    seed: int = Field(ge=0)
    """Every layout follows from the seed and its map id."""
    layouts: int | None = Field(default=None, ge=1)
    """Number of procedural layouts."""
    city: GeoJsonCity | None = None
    """A custom city instead of procedural layouts."""
    first_map_id: int = Field(default=1, ge=0)
    """Id of the first layout; RadioMapSeer's splits use the ids 1 .. 700."""
    size: int = Field(ge=MIN_SIZE, le=MAX_SIZE)
    """Side of the square map in pixels of one metre; RadioMapSeer has 256."""
    transmitters: int = Field(ge=1)
    """Transmitters per layout; RadioMapSeer has 80."""
    transmitter_margin: float = Field(default=53 / 256, ge=0.0, lt=0.5)
    """Transmitters keep this share of the map's side away from its border, as in RadioMapSeer,
    where they lie in the central 150 m."""
    simulations: tuple[Simulation, ...] = Field(min_length=1)
    """DPM: dominant path model. IRT2, IRT4: ray tracing with at most 2 or 4 interactions, needs the
    extra `raytrace`. With the prefix `cars` the vehicles are there too."""
    variation: Variation | None = None
    """Layouts that differ from the engine's constants and from the written footprints; without it
    there are none."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes; what is written does not depend on it."""
    executor: Executor = Executor()
    """Where the layouts are simulated."""

    @field_validator("simulations")
    @classmethod
    def _each_once(cls, simulations: tuple[Simulation, ...]) -> tuple[Simulation, ...]:
        if len(set(simulations)) < len(simulations):
            raise ValueError("a simulation is listed twice")
        return simulations

    @model_validator(mode="after")
    def _one_source(self) -> SimulateConfig:
        if (self.layouts is None) == (self.city is None):
            raise ValueError("give either layouts (a number) or city (GeoJSON files)")
        if self.city is not None and self.city.overlap >= self.size:
            raise ValueError(f"city.overlap must be smaller than the tile size {self.size}")
        return self

    @model_validator(mode="after")
    def _variation_of_the_dominant_path(self) -> SimulateConfig:
        traced = [name for name in self.simulations if not name.endswith("DPM")]
        if self.variation is not None and traced:
            raise ValueError(f"variation is of DPM and carsDPM alone, found {traced[0]}")
        return self
