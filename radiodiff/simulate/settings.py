"""Which cities are simulated, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings

MIN_SIZE, MAX_SIZE = 32, 1024
"""Sides of a layout in pixels."""

Simulation = Literal["DPM", "carsDPM", "IRT2", "carsIRT2", "IRT4", "carsIRT4"]


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
    workers: int = Field(default=1, ge=1)
    """Processes; what is written does not depend on it."""

    @model_validator(mode="after")
    def _one_source(self) -> SimulateConfig:
        if (self.layouts is None) == (self.city is None):
            raise ValueError("give either layouts (a number) or city (GeoJSON files)")
        if self.city is not None and self.city.overlap >= self.size:
            raise ValueError(f"city.overlap must be smaller than the tile size {self.size}")
        return self
