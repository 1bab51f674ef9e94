"""A city as polygons: buildings, roads and vehicles, and the pixels they cover.

Geometry lives in pixel coordinates. One pixel is one metre; a shapely point is (x, y) = (column,
row), the row counted downwards from the top of the map, and the centre of a pixel is its integer
coordinate. Which pixels a polygon covers is the raster rule of :mod:`radiodiff.data.polygons`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from radiodiff.data.footprints import read_rings
from radiodiff.data.polygons import GAIN_RULE, RasterRule, polygons_from_mask, rasterise
from radiodiff.errors import InputError
from radiodiff.simulate import geojson
from radiodiff.simulate.geometry import clean_polygons, clip_polygons, polygon_parts
from radiodiff.simulate.streets import park_and_drive

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class City:
    """The geometry one radio map is computed from.

    Attributes:
        size: (rows, columns) of the map in pixels of one metre.
        buildings: footprints, possibly with holes (courtyards), in pixel coordinates (x, y) =
            (column, row). Nothing stands outside the map.
        roads: road surfaces, in the same coordinates.
        vehicles: outlines of parked and moving vehicles, in the same coordinates.
    """

    size: tuple[int, int]
    buildings: tuple[Polygon, ...] = ()
    roads: tuple[Polygon, ...] = ()
    vehicles: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        rows, columns = self.size
        if rows < 1 or columns < 1:
            raise InputError(f"city size {rows} x {columns}: both sides must be at least 1 pixel")
        for layer in ("buildings", "roads", "vehicles"):
            repaired = clean_polygons(getattr(self, layer), layer)
            object.__setattr__(self, layer, tuple(clip_polygons(repaired, self.frame)))

    @classmethod
    def from_mask(
        cls,
        buildings: np.ndarray,
        vehicles: np.ndarray | None = None,
        rule: RasterRule = GAIN_RULE,
    ) -> City:
        """Recover the city with the fewest integer vertices whose masks are those given.

        Args:
            buildings: (H, W) bool or 0/1, True inside buildings.
            vehicles: (H, W) bool or 0/1, True under vehicles; None means there are none.
            rule: by which both were drawn; ``PNG_RULE`` for images of the dataset.

        Raises:
            InputError: a mask is not binary, or the two differ in shape.
        """
        if vehicles is not None and np.shape(vehicles) != np.shape(buildings):
            raise InputError(
                f"vehicle mask of shape {np.shape(vehicles)}: must have the building mask's shape "
                f"{np.shape(buildings)}"
            )
        footprints = polygons_from_mask(buildings, rule)
        outlines = [] if vehicles is None else polygons_from_mask(vehicles, rule)
        rows, columns = np.shape(buildings)
        return cls((rows, columns), buildings=tuple(footprints), vehicles=tuple(outlines))

    @classmethod
    def from_rings(
        cls, buildings: str | Path, size: tuple[int, int], vehicles: str | Path | None = None
    ) -> City:
        """Read a city from polygon files of the dataset, ``polygon/{layer}/{map}.json``.

        Args:
            buildings: file of the buildings.
            size: (rows, columns) of the map.
            vehicles: file of the vehicles, if there are any.

        Raises:
            InputError: a file is missing or no list of closed rings inside of the map.
        """
        cars = [] if vehicles is None else read_rings(vehicles, size)
        return cls(size, tuple(read_rings(buildings, size)), vehicles=tuple(cars))

    @classmethod
    def from_geojson(
        cls,
        buildings: str | Path,
        roads: str | Path | None = None,
        vehicles: str | Path | None = None,
        bounds: geojson.Bounds | None = None,
        traffic: np.random.Generator | None = None,
    ) -> City:
        """Read a city from GeoJSON in longitude and latitude, one file per layer.

        One OpenStreetMap export may serve as several layers: features tagged ``building`` are
        buildings (all polygons but land use and outlines of sites, if none is tagged), lines tagged
        ``highway`` are roads if vehicles use them. Buildings are joined where they touch and their
        vertices rounded to whole metres, as in RadioMapSeer. The map's first row is in the north,
        its first column in the west.

        Args:
            buildings: footprints, with holes for courtyards.
            roads: road axes.
            vehicles: outlines of vehicles.
            bounds: west, south, east, north in degrees of the part to read; None means all of the
                building file.
            traffic: draws vehicles along the roads, if there is no file of them.

        Raises:
            InputError: a file is missing, no GeoJSON, or not in longitude and latitude; the area is
                empty or larger than 20 km.
        """
        features = geojson.read_features(buildings)
        if bounds is None and not features:
            raise InputError(f"{buildings}: holds no features and no bounds were given")
        project = geojson.area_of(bounds or geojson.bounds_of(features), str(buildings))
        width, height = project.extent_m
        size = (max(1, round(height)), max(1, round(width)))
        areas, notes = geojson.footprints(features)
        for note in notes:
            logger.warning("%s: %s", buildings, note)
        footprints = clean_polygons(map(project, areas), "buildings")
        # A grid of one metre rounds the vertices while it joins the polygons.
        joined = polygon_parts(shapely.union_all(footprints, grid_size=1.0))
        streets = [] if roads is None else geojson.streets(geojson.read_features(roads), project)
        surfaces = clean_polygons((s for street in streets for s in street.surface()), "roads")
        outlines: list[BaseGeometry] = []
        if vehicles is not None:
            outlines = [project(f.geometry) for f in geojson.read_features(vehicles)]
        elif traffic is not None:
            frame = box(0, -1, size[1], size[0] - 1)
            outlines = park_and_drive(traffic, streets, joined, frame)
        cars = clean_polygons(outlines, "vehicles")
        return cls(size, tuple(joined), tuple(surfaces), tuple(cars))

    @property
    def frame(self) -> Polygon:
        """The rectangle whose pixels make the map: x in [0, columns], y in [-1, rows - 1]."""
        rows, columns = self.size
        return box(0, -1, columns, rows - 1)

    @property
    def polygons(self) -> tuple[Polygon, ...]:
        """The buildings, under the name by which the dominant path engine asks for them."""
        return self.buildings

    @property
    def building_mask(self) -> np.ndarray:
        """(H, W) bool, True inside buildings."""
        return rasterise(self.buildings, self.size)

    @property
    def road_mask(self) -> np.ndarray:
        """(H, W) bool, True on road surfaces."""
        return rasterise(self.roads, self.size)

    @property
    def vehicle_mask(self) -> np.ndarray:
        """(H, W) bool, True under vehicles."""
        return rasterise(self.vehicles, self.size)

    def crop(self, row: int, column: int, size: tuple[int, int]) -> City:
        """Return the part of the city whose top left pixel is (row, column).

        Args:
            row: first row of the part; it may reach beyond the city, where nothing stands.
            column: first column of the part.
            size: (rows, columns) of the part.
        """
        window = box(column, row - 1, column + size[1], row + size[0] - 1)
        layers = [
            tuple(
                affinity.translate(polygon, xoff=-column, yoff=-row)
                for polygon, near in zip(layer, shapely.intersects(layer, window), strict=True)
                if near
            )
            for layer in (self.buildings, self.roads, self.vehicles)
        ]
        return City(size, *layers)

    def tiles(self, size: int, overlap: int = 0) -> Iterator[tuple[tuple[int, int], City]]:
        """Cut the city into square tiles, row by row.

        Args:
            size: side of a tile in pixels.
            overlap: pixels common to neighbouring tiles, 0 .. size - 1. The last tile of a row or
                column is moved back so as to end with the city, and so may overlap more.

        Yields:
            the (row, column) of a tile's top left pixel in the city, and the tile.

        Raises:
            InputError: the overlap is impossible or the city is smaller than a tile.
        """
        if not 0 <= overlap < size:
            raise InputError(f"tile overlap {overlap}: must be in 0 .. {size - 1} (tile size - 1)")
        rows, columns = self.size
        if min(rows, columns) < size:
            raise InputError(f"city of {rows} x {columns} m is smaller than a tile of {size} m")
        for row in _tile_origins(rows, size, overlap):
            for column in _tile_origins(columns, size, overlap):
                yield (row, column), self.crop(row, column, (size, size))


def _tile_origins(length: int, size: int, overlap: int) -> list[int]:
    origins = list(range(0, length - size + 1, size - overlap))
    if origins[-1] + size < length:
        origins.append(length - size)
    return origins
