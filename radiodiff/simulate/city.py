"""A city as polygons: buildings, roads and vehicles, and the pixels they cover.

Geometry lives in pixel coordinates. One pixel is one metre; a shapely point is (x, y) = (column,
row), the row counted downwards from the top of the map, and the centre of a pixel is its integer
coordinate. Which pixels a polygon covers is the raster rule of :mod:`radiodiff.simulate.polygons`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from radiodiff.errors import InputError
from radiodiff.simulate.polygons import polygons_from_mask, rasterise

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
    vehicles: tuple[Polygon, ...] = field(default=())

    def __post_init__(self) -> None:
        rows, columns = self.size
        if rows < 1 or columns < 1:
            raise InputError(f"city size {rows} x {columns}: both sides must be at least 1 pixel")
        for layer in ("buildings", "roads", "vehicles"):
            repaired = clean_polygons(getattr(self, layer), layer)
            object.__setattr__(self, layer, tuple(clip_polygons(repaired, self.frame)))

    @classmethod
    def from_mask(cls, buildings: np.ndarray, vehicles: np.ndarray | None = None) -> City:
        """Recover the city with the fewest integer vertices whose mask is ``buildings``.

        Args:
            buildings: (H, W) bool or 0/1, True inside buildings.
            vehicles: (H, W) bool or 0/1, True under vehicles; None means there are none.

        Raises:
            InputError: a mask is not binary, or the two differ in shape.
        """
        if vehicles is not None and np.shape(vehicles) != np.shape(buildings):
            raise InputError(
                f"vehicle mask of shape {np.shape(vehicles)}: must have the building mask's shape "
                f"{np.shape(buildings)}"
            )
        footprints = polygons_from_mask(buildings)
        outlines = [] if vehicles is None else polygons_from_mask(vehicles)
        rows, columns = np.shape(buildings)
        return cls((rows, columns), buildings=tuple(footprints), vehicles=tuple(outlines))

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

        def moved(polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
            return tuple(affinity.translate(p, xoff=-column, yoff=-row) for p in polygons)

        return City(size, moved(self.buildings), moved(self.roads), moved(self.vehicles))

    def tiles(self, size: int, overlap: int = 0) -> Iterator[tuple[tuple[int, int], City]]:
        """Cut the city into square tiles, row by row.

        Args:
            size: side of a tile in pixels.
            overlap: pixels shared by neighbouring tiles, 0 .. size - 1. The last tile of a row or
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


def polygon_parts(geometry: BaseGeometry) -> list[Polygon]:
    """Return the polygons of a geometry with an area; points and lines are dropped."""
    if isinstance(geometry, Polygon):
        return [geometry] if geometry.area > 0 else []
    return [part for piece in getattr(geometry, "geoms", ()) for part in polygon_parts(piece)]


def clean_polygons(polygons: Iterable[BaseGeometry], layer: str = "polygons") -> list[Polygon]:
    """Return valid simple polygons: self-crossing ones are repaired, degenerate ones dropped.

    Both are logged once per layer.
    """
    cleaned: list[Polygon] = []
    repaired = dropped = 0
    for polygon in polygons:
        if not polygon.is_valid:
            repaired += 1
            polygon = shapely.make_valid(polygon)
        parts = polygon_parts(polygon)
        dropped += not parts
        cleaned.extend(parts)
    if repaired:
        logger.warning(
            "%s: repaired %d self-crossing or otherwise invalid polygons", layer, repaired
        )
    if dropped:
        logger.warning("%s: dropped %d polygons without an area", layer, dropped)
    return cleaned


def clip_polygons(polygons: Iterable[Polygon], frame: Polygon) -> list[Polygon]:
    """Return the parts of the polygons inside the rectangle ``frame``."""
    clipped: list[Polygon] = []
    for polygon in polygons:
        if frame.contains(polygon):
            clipped.append(polygon)
        elif frame.intersects(polygon):
            clipped.extend(polygon_parts(polygon.intersection(frame)))
    return clipped


def snap_polygons(polygons: Iterable[Polygon]) -> list[Polygon]:
    """Return the polygons with integer vertices, as in RadioMapSeer; slivers disappear."""
    return [
        part for polygon in polygons for part in polygon_parts(shapely.set_precision(polygon, 1.0))
    ]


def _tile_origins(length: int, size: int, overlap: int) -> list[int]:
    origins = list(range(0, length - size + 1, size - overlap))
    if origins[-1] + size < length:
        origins.append(length - size)
    return origins
