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
from shapely import STRtree, affinity
from shapely.geometry import LineString, Polygon, box
from shapely.geometry.base import BaseGeometry

from radiodiff.errors import InputError
from radiodiff.simulate.blocks import DEVELOPMENTS, Frame
from radiodiff.simulate.city import City, polygon_parts, snap_polygons

MIN_SIZE, MAX_SIZE = 32, 1024
DENSITY_RANGE = (0.05, 0.5)
"""Share of built-up pixels outside which a layout is drawn again (real ones: 0.09 .. 0.41)."""
MIN_AREA_M2 = 14.0
"""Smaller remains of a building, left by the map's border, are dropped."""
DISTRICT_SIDE_M = (110.0, 220.0)
VEHICLE_LENGTH_M, VEHICLE_WIDTH_M = 5.0, 2.0
MAX_ATTEMPTS = 50


@dataclass(frozen=True)
class Street:
    """A straight street before the layout is bent: its axis and its width from wall to wall."""

    axis: LineString
    width: float

    @property
    def carriageway(self) -> float:
        """Width in metres of the part that vehicles use."""
        return float(np.clip(0.55 * self.width, 5.0, 14.0))


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
    mixture = rng.dirichlet(6.0 * weights)
    street_width = rng.uniform(9.0, 20.0)
    half = 0.75 * size + 40.0
    streets: list[Street] = []
    districts = _subdivide(
        rng,
        box(-half, -half, half, half),
        DISTRICT_SIDE_M,
        DISTRICT_SIDE_M,
        1.5 * street_width,
        streets,
    )
    footprints: list[Polygon] = []
    for district in districts:
        kind = kinds[rng.choice(len(kinds), p=mixture)]
        for block in _subdivide(
            rng, district, kind.block_depth, kind.block_length, street_width, streets
        ):
            footprints.extend(kind.build(block, rng))
    bend = _random_bend(rng, size)
    buildings = _settle(
        [bent for footprint in footprints for bent in polygon_parts(_apply(bend, footprint))], size
    )
    buildings = _clear_open_land(rng, buildings, size)
    built_up = shapely.union_all(buildings)
    shapely.prepare(built_up)
    roads = [
        part
        for street in streets
        for part in polygon_parts(
            _apply(bend, street.axis)
            .buffer(street.carriageway / 2, cap_style="flat")
            .difference(built_up)
        )
    ]
    vehicles = _park_and_drive(rng, streets, bend, built_up, size)
    return City((size, size), tuple(buildings), tuple(roads), tuple(vehicles))


def _subdivide(
    rng: np.random.Generator,
    land: Polygon,
    depth_range: tuple[float, float],
    length_range: tuple[float, float],
    street_width: float,
    streets: list[Street],
) -> list[Polygon]:
    """Cut land by streets until no block is deeper or longer than wanted; note the streets."""
    frame = Frame.of(land)
    too_long = frame.length > rng.uniform(*length_range) * 1.25
    too_deep = frame.depth > rng.uniform(*depth_range) * 1.25
    if not (too_long or too_deep):
        return [land]
    across_length = too_long and (not too_deep or frame.length > frame.depth * 1.2)
    share, tilt = rng.uniform(0.38, 0.62), np.tan(rng.normal(0.0, 0.06))
    reach = frame.length + frame.depth
    if across_length:
        u, v = share * frame.length, frame.depth / 2
        axis = LineString([(u - tilt * reach, v - reach), (u + tilt * reach, v + reach)])
    else:
        u, v = frame.length / 2, share * frame.depth
        axis = LineString([(u - reach, v - tilt * reach), (u + reach, v + tilt * reach)])
    width = float(street_width * rng.uniform(0.75, 1.3))
    axis = frame.place(axis).intersection(land)
    streets.append(Street(axis, width))
    parts = polygon_parts(land.difference(axis.buffer(width / 2, cap_style="square")))
    blocks: list[Polygon] = []
    for part in parts:
        if part.area > 150.0:
            blocks.extend(_subdivide(rng, part, depth_range, length_range, street_width, streets))
    return blocks


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
    curved = rng.random() < 0.4
    wavelength = rng.uniform(300.0, 700.0)
    return Bend(
        angle=rng.uniform(0.0, np.pi),
        shift=(size / 2, size / 2),
        # The slope of the wave stays below 0.45, so that right angles survive roughly.
        amplitude=rng.uniform(0.1, 0.45) * wavelength / (2 * np.pi) if curved else 0.0,
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
        for other in tree.query(footprint, predicate="intersects"):
            if other < index and int(other) not in dropped:
                if footprint.intersection(snapped[other]).area > 0:
                    dropped.add(index)
                    break
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


def _park_and_drive(
    rng: np.random.Generator,
    streets: list[Street],
    bend: Bend,
    built_up: BaseGeometry,
    size: int,
) -> list[Polygon]:
    """Park vehicles along both kerbs and let others drive in the two lanes."""
    occupancy, headway = rng.uniform(0.1, 0.5), rng.uniform(18.0, 60.0)
    frame = box(1, 0, size - 1, size - 2)
    outline = box(
        -VEHICLE_LENGTH_M / 2, -VEHICLE_WIDTH_M / 2, VEHICLE_LENGTH_M / 2, VEHICLE_WIDTH_M / 2
    )
    vehicles: list[Polygon] = []
    for street in streets:
        kerb = street.carriageway / 2 - VEHICLE_WIDTH_M / 2 - 0.3
        lane = max(street.carriageway / 4 - 0.5, 1.3)
        parked = np.arange(6.0, street.axis.length - 6.0, VEHICLE_LENGTH_M + 1.0)
        places = [
            (along, side * kerb) for side in (-1, 1) for along in parked if rng.random() < occupancy
        ]
        for side in (-1, 1):
            along = rng.uniform(0.0, headway)
            while along < street.axis.length:
                places.append((along, side * lane))
                along += VEHICLE_LENGTH_M + rng.exponential(headway)
        for along, offset in places:
            vehicle = _on_street(street.axis, along, offset, outline, bend)
            clear = frame.contains(vehicle) and not built_up.intersects(vehicle)
            if clear and not any(vehicle.intersects(other) for other in vehicles):
                vehicles.append(vehicle)
    return vehicles


def _on_street(
    axis: LineString, along: float, offset: float, outline: Polygon, bend: Bend
) -> Polygon:
    """Return the vehicle outline ``along`` metres down the bent street, ``offset`` to its side."""
    ends = bend(np.array([axis.interpolate(along + step).coords[0] for step in (-0.5, 0.5)]))
    direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    centre = ends.mean(axis=0) + offset * np.array([-direction[1], direction[0]])
    angle = np.arctan2(direction[1], direction[0])
    turned = affinity.rotate(outline, angle, origin=(0, 0), use_radians=True)
    return affinity.translate(turned, *centre)
