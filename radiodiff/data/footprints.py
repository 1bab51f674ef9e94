"""Building footprints of a RadioMapSeer tree: from its polygons, its images or its gain.

The dataset stores every layout twice. ``polygon/buildings_*/{map}.json`` is a list of closed rings
of whole metres [x, y], x to the right and y up from the bottom; ``png/buildings_*/{map}.png`` is
drawn from it half a pixel off the gain images (:mod:`radiodiff.data.polygons`). What has no gain,
the *footprint*, follows exactly from the polygons, and within a few pixels from polygons fitted to
the image. Copies of the dataset without polygons, and masks made from gain images, are common, so
everything here says which of them it used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from scipy import ndimage

from radiodiff.data.polygons import PNG_RULE, polygons_from_mask, rasterise
from radiodiff.errors import InputError

MAX_DISAGREEMENT = 0.01
"""Largest share of the building pixels in which two sources may contradict each other. A footprint
fitted to an image has gain in less than 0.003 of its pixels; the image taken as the footprint
has gain in 0.04 or more."""
RIM = 1
"""Pixels around the walls that sources of one layout may place differently."""
BORDER = 1
"""Metres by which a ring may reach beyond the map: row 0 is sampled a little above y = H."""


@dataclass(frozen=True)
class Footprint:
    """The buildings of one layout.

    Attributes:
        mask: (H, W) bool, by the rule of the gain images; True where the map has no gain.
        source: what it was made from: ``polygon``, ``png``, ``gain``, or ``png of gain rule`` if
            the image follows the rule of the gain images.
        given_png: (H, W) bool, the dataset's image of the layout, if there is one.
        given_polygons: the polygons of which ``mask`` was drawn, if it was.
    """

    mask: np.ndarray
    source: str
    given_png: np.ndarray | None = None
    given_polygons: tuple[shapely.Polygon, ...] | None = None

    @cached_property
    def polygons(self) -> tuple[shapely.Polygon, ...]:
        """The buildings in pixel coordinates (x, y) = (column, row), under the gain's rule."""
        if self.given_polygons is not None:
            return self.given_polygons
        return tuple(polygons_from_mask(self.mask))

    @cached_property
    def png(self) -> np.ndarray:
        """(H, W) bool, the dataset's image of the layout; without one, drawn by its rule."""
        if self.given_png is not None:
            return self.given_png
        return rasterise(self.polygons, _shape(self.mask), PNG_RULE)

    def opened_at(self, transmitter: tuple[int, int]) -> Footprint:
        """Return the footprint with the pixel (row, column) of a transmitter outdoors.

        Polygons fitted to an image are off in a few pixels along the walls, and now and
        then a transmitter stands in one of them. Elsewhere nothing changes: inside of a
        building, or with an exact footprint, the position is wrong.
        """
        row, column = transmitter
        height, width = self.mask.shape
        if self.source != "png" or not (0 <= row < height and 0 <= column < width):
            return self
        near = self.mask[max(row - RIM, 0) : row + RIM + 1, max(column - RIM, 0) : column + RIM + 1]
        if not self.mask[row, column] or near.all():
            return self
        mask = self.mask.copy()
        mask[row, column] = False
        return Footprint(mask, self.source, self.given_png)


def read_rings(path: str | Path, shape: tuple[int, int]) -> list[shapely.Polygon]:
    """Read a polygon file of the dataset.

    Args:
        path: JSON, a list of closed rings of [x, y] in metres, y up from the bottom of the map. A
            ring may run along a cut twice to enclose a courtyard.
        shape: (H, W) of the map.

    Returns:
        valid polygons in pixel coordinates (x, y) = (column, row).

    Raises:
        InputError: the file is missing or no such list, a ring is open or leaves the map.
    """
    try:
        rings = json.loads(Path(path).read_text(encoding="utf-8"))
        arrays = [np.array(ring, dtype=np.float64) for ring in rings]
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except (OSError, TypeError, ValueError, OverflowError, RecursionError):
        arrays = [np.empty(0)]
    if not all(points.ndim == 2 and points.shape[1] == 2 for points in arrays):
        raise InputError(f"{path}: expected a JSON list of closed rings of [x, y]")
    unclosed = [index for index, points in enumerate(arrays) if (points[0] != points[-1]).any()]
    if unclosed:
        raise InputError(
            f"{path}: {len(unclosed)} of {len(arrays)} rings are open, the first is ring "
            f"{unclosed[0]}; a ring must end with its first point"
        )
    height, width = shape
    limits = np.array([width, height]) + BORDER
    outside = sum(
        int((~((points >= -BORDER) & (points <= limits)).all(axis=1)).sum()) for points in arrays
    )
    if outside:
        raise InputError(
            f"{path}: {outside} points are outside the map; x is in 0 .. {width} and y in "
            f"0 .. {height}"
        )
    polygons = []
    for points in arrays:
        if len(points) < 4:
            continue  # a point or a line has no area
        pixels = np.column_stack([points[:, 0] - 1.0, height - points[:, 1]])
        valid = shapely.make_valid(shapely.Polygon(pixels))
        polygons += [part for part in _polygon_parts(valid) if part.area > 0]
    return polygons


def rings_of(polygons: Iterable[shapely.Polygon], height: int) -> list[list[list[float]]]:
    """Return polygons in the form of the dataset's polygon files; :func:`read_rings` reads them.

    The dataset's rings have no holes: a courtyard is joined to its outline by a cut between two
    vertices, along which the ring runs there and back.

    Args:
        polygons: in pixel coordinates (x, y) = (column, row).
        height: H of the map.
    """
    return [
        [[_metres(x + 1.0), _metres(height - y)] for x, y in _cut_open(polygon)]
        for polygon in polygons
    ]


def footprint_from_polygons(
    polygons: Sequence[shapely.Polygon], shape: tuple[int, int], png: np.ndarray | None = None
) -> Footprint:
    """Return the footprint of polygons, exactly.

    Args:
        polygons: in pixel coordinates (x, y) = (column, row).
        shape: (H, W) of the map.
        png: (H, W) bool, the dataset's image of the layout; without it, it is drawn when asked for.
    """
    return Footprint(rasterise(polygons, shape), "polygon", png, tuple(polygons))


def footprint_from_png(png: np.ndarray, gain: np.ndarray | None = None) -> Footprint:
    """Return the footprint that a building image shows, by polygons fitted to it.

    Args:
        png: (H, W) bool, drawn by the rule of the dataset's building images.
        gain: (H, W) levels of one gain image of the layout. With it an image drawn by the rule of
            the gain images is recognised, and taken as it is.
    """
    if gain is not None and not (png & (gain > 0)).any():
        return Footprint(png, "png of gain rule", png)
    polygons = tuple(polygons_from_mask(png, PNG_RULE))
    mask = rasterise(polygons, _shape(png))
    if gain is not None and (png & (gain > 0)).sum() < (mask & (gain > 0)).sum():
        return Footprint(png, "png of gain rule", png)
    return Footprint(mask, "png", png, polygons)


def footprint_from_gain(images: Iterable[np.ndarray], png: np.ndarray | None = None) -> Footprint:
    """Return the footprint that gain images of one layout show: no gain in any of them.

    Args:
        images: (H, W) levels. A single image also loses what is weaker than the truncation.
        png: (H, W) bool, the dataset's image of the layout, if there is one.

    Raises:
        InputError: there is no image.
    """
    zeros = [levels == 0 for levels in images]
    if not zeros:
        raise InputError("footprint from gain: no gain image was given")
    return Footprint(np.logical_and.reduce(zeros), "gain", png)


def gain_footprint(png: np.ndarray) -> np.ndarray:
    """Return the (H, W) bool pixels without gain for a building image of the dataset.

    This is what networks, engine and inverse take as buildings; ``png`` is (H, W) bool as in
    ``png/buildings_complete``. Where the polygons are at hand,
    :func:`footprint_from_polygons` is exact.
    """
    return footprint_from_png(png).mask


def check_polygons_against_png(footprint: Footprint, path: Path, png_path: Path) -> None:
    """Check that a layout's polygons and its image show the same buildings.

    Raises:
        InputError: they differ by more than a rim along the walls.
    """
    drawn = rasterise(footprint.polygons, _shape(footprint.mask), PNG_RULE)
    ring = np.ones((2 * RIM + 1, 2 * RIM + 1), dtype=bool)
    rim = ndimage.binary_dilation(drawn, ring) & ~ndimage.binary_erosion(drawn, ring)
    differing = drawn != footprint.png
    beyond = int((differing & ~rim).sum())
    if beyond > _allowed(footprint.png | drawn):
        raise InputError(
            f"{path}: differs from {png_path} in {int(differing.sum())} pixels, {beyond} of them "
            f"not along a wall; set data.buildings to polygon or png, whichever is right"
        )


def check_against_gain(footprint: Footprint, gain: np.ndarray, path: Path) -> None:
    """Check a footprint made from an image against a gain image of the layout.

    Raises:
        InputError: too many pixels inside of buildings have gain.
    """
    wrong = int((footprint.mask & (gain > 0)).sum())
    if wrong > _allowed(footprint.mask):
        raise InputError(
            f"{path}: follows neither raster rule of the dataset, {wrong} pixels inside of its "
            "buildings have gain; set data.buildings to gain to take the buildings from the gain "
            "images, or to png to take this image all the same"
        )


def _allowed(buildings: np.ndarray) -> int:
    return math.floor(MAX_DISAGREEMENT * buildings.sum())


def _shape(mask: np.ndarray) -> tuple[int, int]:
    height, width = mask.shape
    return height, width


def _polygon_parts(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """Return the polygons of a repaired geometry; points and lines, such as cuts, are dropped."""
    if isinstance(geometry, shapely.Polygon):
        return [geometry]
    return [part for piece in getattr(geometry, "geoms", ()) for part in _polygon_parts(piece)]


def _metres(value: float) -> float:
    """Return whole numbers as int, others to a millimetre."""
    return round(value) if value == round(value) else round(value, 3)


def _cut_open(polygon: shapely.Polygon) -> list[tuple[float, float]]:
    """Return one closed ring that encloses a polygon's area, its holes cut open."""
    shapely.prepare(polygon)
    ring = list(polygon.exterior.coords)
    holes = [list(interior.coords)[:-1] for interior in polygon.interiors]
    while holes:
        cuts = sorted(
            (math.dist(point, corner), i, hole, j)
            for i, point in enumerate(ring[:-1])
            for hole, corners in enumerate(holes)
            for j, corner in enumerate(corners)
        )
        # Some hole always sees the ring: the shortest cut of all is one.
        _, i, hole, j = next(
            cut
            for cut in cuts
            if polygon.covers(shapely.LineString([ring[cut[1]], holes[cut[2]][cut[3]]]))
        )
        corners = holes.pop(hole)
        ring = [*ring[: i + 1], *corners[j:], *corners[: j + 1], *ring[i:]]
    return ring
