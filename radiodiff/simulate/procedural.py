"""Procedural city layouts with the statistics of RadioMapSeer's.

A layout is drawn as a city grows: streets cut the land into districts and blocks, a district has
one kind of development (detached houses, apartment houses, perimeter blocks, slabs, halls, compound
buildings or open land), buildings follow their block, a smooth warp bends the streets, and vehicles
stand and drive along them. How close the result is to the real layouts is measured by
:mod:`radiodiff.simulate.statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely import STRtree
from shapely.geometry import LineString, Polygon, box

from radiodiff.errors import InputError
from radiodiff.simulate.blocks import DEVELOPMENTS, Frame
from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import polygon_parts, snap_polygons
from radiodiff.simulate.settings import MAX_SIZE, MIN_SIZE
from radiodiff.simulate.streets import Street, park_and_drive

DENSITY_RANGE = (0.08, 0.5)
"""Share of built-up pixels outside which a layout is drawn again (real ones: 0.09 .. 0.41)."""
MIN_AREA_M2 = 14.0
"""Smaller remains of a building, left by the map's border, are dropped."""
DISTRICT_SIDE_M = (110.0, 220.0)
DISTRICT_TILT, BLOCK_TILT = 0.2, 0.07
MIN_BLOCK_M2 = 150.0
MAX_ATTEMPTS = 50


def procedural_city(rng: np.random.Generator, size: int = 256) -> City:
    """Draw a layout: buildings with integer vertices, road surfaces and vehicles.

    Args:
        rng: source of all randomness; equal generators give equal cities.
        size: side of the square map in pixels of one metre, 32 .. 1024.

    Raises:
        InputError: the size is out of range.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(f"layout size {size}: must be in {MIN_SIZE} .. {MAX_SIZE} pixels")
    for _ in range(MAX_ATTEMPTS):
        city = _draw_city(rng, size)
        if DENSITY_RANGE[0] <= city.building_mask.mean() <= DENSITY_RANGE[1]:
            return city
    raise RuntimeError(f"no layout with a density in {DENSITY_RANGE} in {MAX_ATTEMPTS} attempts")


def _draw_city(rng: np.random.Generator, size: int) -> City:
    kinds = list(DEVELOPMENTS.values())
    # A low concentration makes one or two kinds of development dominate a layout.
    weights = np.array([kind.weight for kind in kinds])
    mixture = rng.dirichlet(3.0 * weights)
    street_width = rng.uniform(8.0, 15.0)
    half = 0.75 * size + 40.0
    streets: list[Street] = []
    footprints: list[Polygon] = []
    districts = Cut(DISTRICT_SIDE_M, DISTRICT_SIDE_M, 1.5 * street_width, DISTRICT_TILT)
    for district in _subdivide(rng, box(-half, -half, half, half), districts, streets):
        kind = kinds[rng.choice(len(kinds), p=mixture)]
        blocks = Cut(kind.block_depth, kind.block_length, street_width, BLOCK_TILT)
        for block in _subdivide(rng, district, blocks, streets):
            footprints.extend(kind.build(block, rng))
    bend = _random_bend(rng, size)
    buildings = _settle(
        [bent for footprint in footprints for bent in polygon_parts(_apply(bend, footprint))], size
    )
    buildings = _clear_open_land(rng, buildings, size)
    streets = [Street(_apply(bend, street.axis), street.carriageway) for street in streets]
    vehicles = park_and_drive(rng, streets, buildings, box(1, 0, size - 1, size - 2))
    surfaces = [surface for street in streets for surface in street.surface()]
    roads = polygon_parts(shapely.union_all(surfaces).difference(shapely.union_all(buildings)))
    return City((size, size), tuple(buildings), tuple(roads), tuple(vehicles))


@dataclass(frozen=True)
class Cut:
    """How land is cut: wanted depth and length of the parts, and the streets between them."""

    depth: tuple[float, float]
    length: tuple[float, float]
    street_width: float
    tilt: float
    """Standard deviation of a street's slope against the land it cuts."""


def _subdivide(
    rng: np.random.Generator, land: Polygon, cut: Cut, streets: list[Street]
) -> list[Polygon]:
    """Cut land by streets until no part is deeper or longer than wanted; note the streets."""
    frame = Frame.of(land)
    too_long = frame.length > 1.25 * rng.uniform(*cut.length)
    too_deep = frame.depth > 1.25 * rng.uniform(*cut.depth)
    if not (too_long or too_deep):
        return [land]
    across = too_long and (not too_deep or frame.length > 1.2 * frame.depth)
    share, slope = rng.uniform(0.38, 0.62), rng.normal(0.0, cut.tilt)
    reach = frame.length + frame.depth
    if across:
        u, v = share * frame.length, frame.depth / 2
        axis = LineString([(u - slope * reach, v - reach), (u + slope * reach, v + reach)])
    else:
        u, v = frame.length / 2, share * frame.depth
        axis = LineString([(u - reach, v - slope * reach), (u + reach, v + slope * reach)])
    width = float(cut.street_width * rng.uniform(0.75, 1.3))
    axis = frame.place(axis).intersection(land)
    streets.append(Street(axis, carriageway=float(np.clip(0.55 * width, 5.0, 14.0))))
    parts = polygon_parts(land.difference(axis.buffer(width / 2, cap_style="square")))
    return [
        block
        for part in parts
        if part.area > MIN_BLOCK_M2
        for block in _subdivide(rng, part, cut, streets)
    ]


@dataclass(frozen=True)
class Bend:
    """A smooth map of the plane: a rotation, then a long sine wave that curves the streets."""

    angle: float
    shift: tuple[float, float]
    amplitude: float
    wavelength: float
    phase: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Move (N, 2) points."""
        wave = 2 * np.pi * points[:, 0] / self.wavelength + self.phase
        x, y = points[:, 0], points[:, 1] + self.amplitude * np.sin(wave)
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        turned = np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)
        return turned + np.asarray(self.shift)


def _random_bend(rng: np.random.Generator, size: int) -> Bend:
    curved = rng.random() < 0.5
    wavelength = rng.uniform(300.0, 700.0)
    return Bend(
        angle=rng.uniform(0.0, np.pi),
        shift=(size / 2, size / 2),
        # The slope of the wave stays below 0.6, so that right angles survive roughly.
        amplitude=rng.uniform(0.1, 0.6) * wavelength / (2 * np.pi) if curved else 0.0,
        wavelength=wavelength,
        phase=rng.uniform(0.0, 2 * np.pi),
    )


def _apply(bend: Bend, shape: Polygon | LineString) -> Polygon | LineString:
    """Bend a shape; its edges are first divided so that long ones become curves."""
    if bend.amplitude > 0:
        shape = shapely.segmentize(shape, 24.0)
    return shapely.transform(shape, bend)


def _settle(footprints: list[Polygon], size: int) -> list[Polygon]:
    """Snap footprints to integer vertices, cut them to the map and drop overlapping ones."""
    frame = box(0, -1, size, size - 1)
    near = [f for f in footprints if f.is_valid and f.intersects(frame)]
    snapped = [part for part in snap_polygons(near) if part.area >= MIN_AREA_M2]
    tree = STRtree(snapped)
    dropped: set[int] = set()
    for index, footprint in enumerate(snapped):
        earlier = (snapped[i] for i in tree.query(footprint) if i < index and i not in dropped)
        if any(footprint.intersection(other).area > 0 for other in earlier):
            dropped.add(index)
    return [
        part
        for index, footprint in enumerate(snapped)
        if index not in dropped
        for part in snap_polygons(polygon_parts(footprint.intersection(frame)))
        if part.area >= MIN_AREA_M2
    ]


def _clear_open_land(
    rng: np.random.Generator, buildings: list[Polygon], size: int
) -> list[Polygon]:
    """Now and then leave one side of the map open (a park, water, a railway)."""
    if rng.random() > 0.3:
        return buildings
    angle, cut = rng.uniform(0.0, 2 * np.pi), rng.uniform(0.05, 0.4) * size
    direction = np.array([np.cos(angle), np.sin(angle)])
    centre = np.array([size / 2, size / 2])
    return [
        building
        for building in buildings
        if (np.array([building.centroid.x, building.centroid.y]) - centre) @ direction < cut
    ]
