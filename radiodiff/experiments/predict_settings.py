"""The configurations of the command that maps custom cities."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from radiodiff.config import Settings
from radiodiff.executors import Executor
from radiodiff.units import CARRIER_FREQUENCY_HZ, TRANSMIT_POWER_DBM


class CitySettings(Settings):
    """A city, transmitters in it, and what each of them sends."""

    city: Path
    """GeoJSON with the footprints of buildings, in longitude and latitude or a system it names."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east and north in degrees; null takes all of the city."""
    transmitters: tuple[tuple[float, float], ...] = Field(min_length=1)
    """Longitude and latitude of every transmitter, outdoors; ``--tx`` on the command line."""
    resolution_m: float = Field(default=2.0, ge=0.5, le=50.0)
    """Side of a pixel in metres."""
    frequency_ghz: float = Field(default=CARRIER_FREQUENCY_HZ / 1e9, gt=0.1, lt=300.0)
    """Carrier. The constants of the model were fitted at 5.9 GHz; elsewhere the loss changes by
    20 log10 of the ratio, as in free space."""
    transmit_power_dbm: float = TRANSMIT_POWER_DBM
    """Power at the antenna of every transmitter."""
    antenna: str = "isotropic"
    """``isotropic``, ``3gpp`` (8 dBi, 65 degrees), or a CSV of azimuth in degrees and dB."""
    azimuths_degree: tuple[float, ...] = (0.0,)
    """Where antennas point, clockwise from north: one for each transmitter, or one for all."""
    coverage_dbm: float = -95.0
    """A pixel is covered if its best server is received with at least this power."""
    reach_m: float = Field(default=200.0, gt=0)
    """After its first change of direction a path goes on to points in the square of this
    half-side; the time for a city grows with its square."""
    threads: int = Field(default=2, ge=1)
    """Threads that look for lines of sight and paths."""

    @model_validator(mode="after")
    def _one_azimuth_each(self) -> CitySettings:
        if len(self.azimuths_degree) not in (1, len(self.transmitters)):
            raise ValueError(
                f"azimuths_degree: found {len(self.azimuths_degree)} values for "
                f"{len(self.transmitters)} transmitters; give one for each or one for all"
            )
        return self


class PredictConfig(CitySettings):
    """One city and where its maps go."""

    output: Path
    """Run directory: maps.tif, maps.kmz, maps.png, summary.json."""


class PredictCitiesConfig(Settings):
    """Many cities, each with its own transmitters."""

    output: Path
    """Folder of the run directories, one for each city. Cities that are there are not mapped again.
    """
    cities: dict[str, CitySettings] = Field(min_length=1)
    """Name of a run directory -> its city."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Processes; what is written does not depend on it."""
    executor: Executor = Executor()
    """Where the cities are mapped."""

    @field_validator("cities")
    @classmethod
    def _folder_names(cls, cities: dict[str, CitySettings]) -> dict[str, CitySettings]:
        for name in cities:
            if name != Path(name).name or not name.strip("."):
                raise ValueError(f"{name!r} cannot be the name of a folder")
        return cities
