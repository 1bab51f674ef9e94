"""The buildings of a city, read from a mask or from footprints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radiodiff.data.images import read_mask
from radiodiff.errors import InputError
from radiodiff.simulate import geojson
from radiodiff.simulate.city import City
from radiodiff.units import RESOLUTION_M


@dataclass(frozen=True)
class CityFile:
    """What a file says of a city.

    Attributes:
        buildings: (H, W) bool of a PNG, or the footprints of a GeoJSON file.
        projection: of the area of a GeoJSON file; None for a PNG, which lies nowhere.
    """

    buildings: np.ndarray | City
    projection: geojson.Projection | None

    @property
    def building_mask(self) -> np.ndarray:
        """(H, W) bool, True inside buildings; footprints are drawn at one metre a pixel."""
        city = self.buildings
        return city.building_mask if isinstance(city, City) else city


def read_city(
    path: Path,
    max_pixels: int,
    hint: str,
    bounds: geojson.Bounds | None = None,
    resolution_m: float = RESOLUTION_M,
) -> CityFile:
    """Read the buildings of a city.

    Args:
        path: PNG, white for buildings; any other name is read as GeoJSON with footprints.
        max_pixels: of the map.
        hint: what to do about a larger one, for the message.
        bounds: west, south, east, north in degrees of the part of a GeoJSON file; None reads all
            of it.
        resolution_m: side of a pixel in which a GeoJSON file is going to be drawn.

    Raises:
        InputError: the file is neither, cannot be read, holds nothing, or is too large.
    """
    if path.suffix.lower() == ".png":
        mask = read_mask(path)
        _check_size(path, mask.shape, max_pixels, hint)
        return CityFile(mask, None)
    if bounds is None:
        features = geojson.read_features(path)
        if not features:
            raise InputError(f"{path}: holds no features and no bounds were given")
        bounds = geojson.bounds_of(features)
    projection = geojson.area_of(bounds, str(path))
    _check_size(path, projection.shape(resolution_m), max_pixels, hint)
    return CityFile(City.from_geojson(path, bounds=bounds), projection)


def _check_size(path: Path, shape: tuple[int, ...], max_pixels: int, hint: str) -> None:
    if shape[0] * shape[1] > max_pixels:
        raise InputError(
            f"{path}: {shape[0]} x {shape[1]} pixels, at most {max_pixels} are allowed; {hint}"
        )
