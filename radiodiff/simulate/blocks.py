"""What stands on a city block: one function per kind of development.

Every function takes a block (a polygon in metres, free of streets) and a generator and returns
footprints inside the block. Sizes were chosen so that whole layouts match the statistics of real
ones, see :mod:`radiodiff.simulate.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import Polygon, box

from radiodiff.simulate.geometry import polygon_parts


@dataclass(frozen=True)
class Frame:
    """A block's own axes: u along the longer side of its smallest enclosing rectangle, v across."""

    origin: tuple[float, float]
    angle: float
    length: float
    depth: float

    @classmethod
    def of(cls, block: Polygon) -> Frame:
        """Return the frame of a block."""
        corners = np.asarray(shapely.minimum_rotated_rectangle(block).exterior.coords)[:4]
        if np.linalg.norm(corners[1] - corners[0]) < np.linalg.norm(corners[2] - corners[1]):
            corners = np.roll(corners, -1, axis=0)
        along, across = corners[1] - corners[0], corners[2] - corners[1]
        if along[0] * across[1] - along[1] * across[0] < 0:
            # Walk the rectangle the other way, so that u and v are right-handed.
            corners = corners[[1, 0, 3, 2]]
            along = corners[1] - corners[0]
        return cls(
            origin=(float(corners[0][0]), float(corners[0][1])),
            angle=float(np.arctan2(along[1], along[0])),
            length=float(np.linalg.norm(along)),
            depth=float(np.linalg.norm(corners[2] - corners[1])),
        )

    def place(self, shape: Polygon) -> Polygon:
        """Bring a shape given in (u, v) into the plane of the block."""
        turned = affinity.rotate(shape, self.angle, origin=(0, 0), use_radians=True)
        return affinity.translate(turned, *self.origin)


def _rectangle(u: float, v: float, along: float, across: float) -> Polygon:
    """Return the rectangle centred at (u, v)."""
    return box(u - along / 2, v - across / 2, u + along / 2, v + across / 2)


def _keep_inside(block: Polygon, shapes: list[Polygon], share: float = 0.6) -> list[Polygon]:
    """Cut shapes to the block and drop those of which less than ``share`` remains."""
    kept: list[Polygon] = []
    for shape in shapes:
        for part in polygon_parts(shape.intersection(block)):
            if part.area >= share * shape.area:
                kept.append(part)
    return kept


def _with_annex(rng: np.random.Generator, house: Polygon) -> Polygon:
    """Make an L of a rectangular house by cutting a corner out."""
    u, v, right, top = house.bounds
    inner_u, inner_v = np.array([right - u, top - v]) * rng.uniform(0.25, 0.5, size=2)
    shape = Polygon(
        [
            (u + inner_u, v),
            (right, v),
            (right, top),
            (u, top),
            (u, v + inner_v),
            (u + inner_u, v + inner_v),
        ]
    )
    flips = rng.choice([-1.0, 1.0], size=2)
    return affinity.scale(shape, *flips, origin=house.centroid)


def _with_sheds(
    block: Polygon, rng: np.random.Generator, buildings: list[Polygon]
) -> list[Polygon]:
    """Add a shed or a garage a few metres beside some of the buildings."""
    angle = np.rad2deg(Frame.of(block).angle)
    sheds: list[Polygon] = []
    for building in buildings:
        if rng.random() < 0.6:
            width, depth = rng.uniform(6.0, 14.0), rng.uniform(5.0, 10.0)
            path = building.buffer(rng.uniform(2.0, 6.0) + width / 2).exterior
            spot = path.interpolate(rng.random(), normalized=True)
            shed = _rectangle(spot.x, spot.y, width, depth)
            sheds.append(affinity.rotate(shed, angle))
    return buildings + _keep_inside(block, sheds)


def _house_rows(
    block: Polygon,
    rng: np.random.Generator,
    width: float,
    depth: float,
    gap: float,
    missing: float,
) -> list[Polygon]:
    """Place rows of houses along the long sides of a block, and between them if it is deep.

    Args:
        block: the block.
        rng: source of randomness.
        width: mean frontage of a house in metres.
        depth: mean depth of a house in metres.
        gap: mean distance of neighbours in metres.
        missing: probability that a plot is empty.
    """
    frame = Frame.of(block)
    setback = rng.uniform(0.0, 3.0)
    spacing = depth + rng.uniform(4.0, 11.0)
    count = max(1, int((frame.depth - 2 * setback - depth) // spacing) + 1)
    first, last = setback + depth / 2, frame.depth - setback - depth / 2
    rows = np.linspace(first, last, count) if count > 1 else [frame.depth / 2]
    regular = rng.random() < 0.5
    variation = 0.06 if regular else 0.25
    houses: list[Polygon] = []
    for v in rows:
        u = rng.uniform(0.0, gap)
        while u < frame.length:
            along = width * np.exp(variation * rng.standard_normal())
            across = depth * np.exp(variation * rng.standard_normal())
            if rng.random() >= missing:
                shift = rng.normal(0.0, 0.04 * depth if regular else 0.12 * depth)
                house = _rectangle(u + along / 2, v + shift, along, across)
                if rng.random() < (0.05 if regular else 0.35):
                    house = _with_annex(rng, house)
                house = affinity.rotate(house, rng.normal(0.0, 1.0 if regular else 4.0))
                houses.append(frame.place(house))
            u += along + gap * np.exp(0.3 * rng.standard_normal())
    return _keep_inside(block, houses)


def detached_houses(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return small houses of about 80 to 200 m2, with gardens between them."""
    width = rng.uniform(9.0, 15.0)
    proportion = rng.uniform(1.0, 1.8)
    width, depth = (
        (width, width * proportion) if rng.random() < 0.6 else (width * proportion, width)
    )
    return _house_rows(
        block,
        rng,
        width=width,
        depth=depth,
        gap=rng.uniform(3.0, 9.0),
        missing=rng.uniform(0.0, 0.3),
    )


def apartment_houses(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return compact apartment houses of about 250 to 550 m2 in rows."""
    width = rng.uniform(15.0, 23.0)
    return _house_rows(
        block,
        rng,
        width=width,
        depth=width * rng.uniform(1.0, 1.6),
        gap=rng.uniform(2.5, 7.0),
        missing=rng.uniform(0.0, 0.15),
    )


def terraces(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return long rows of houses that share their walls, seldom interrupted."""
    return _house_rows(
        block,
        rng,
        width=rng.uniform(28.0, 80.0),
        depth=rng.uniform(9.0, 14.0),
        gap=rng.uniform(3.0, 9.0),
        missing=rng.uniform(0.0, 0.15),
    )


def perimeter_block(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return a ring of buildings around a courtyard, often opened by gaps or a missing side."""
    depth = rng.uniform(10.0, 16.0)
    outline = block.buffer(-rng.uniform(0.0, 3.0), join_style="mitre")
    courtyard = outline.buffer(-depth, join_style="mitre")
    frame = Frame.of(block)
    if courtyard.is_empty or frame.depth < 2.5 * depth:
        return terraces(block, rng)
    ring = outline.difference(courtyard)
    for u in np.arange(0.0, frame.length, 12.0):
        # Stair houses and sheds reach into the courtyard.
        if rng.random() < 0.35:
            side = depth + rng.uniform(0.0, 3.0)
            v = side if rng.random() < 0.5 else frame.depth - side
            annex = frame.place(_rectangle(u, v, rng.uniform(4.0, 9.0), rng.uniform(6.0, 14.0)))
            ring = ring.union(annex.intersection(outline))
    openings = [
        _rectangle(rng.uniform(0.2, 0.8) * frame.length, 0.0, rng.uniform(4.0, 12.0), 5 * depth)
        for _ in range(rng.integers(1, 3))
    ]
    for u, probability in ((frame.length, 0.35), (0.0, 0.2)):
        if rng.random() < probability:
            openings.append(_rectangle(u, frame.depth / 2, 2.4 * depth, 0.7 * frame.depth))
    for opening in openings:
        ring = ring.difference(frame.place(opening))
    return polygon_parts(ring)


def slabs(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return parallel free-standing slabs with wide lawns between them."""
    frame = Frame.of(block)
    depth, spacing = rng.uniform(10.0, 15.0), rng.uniform(24.0, 42.0)
    length = rng.uniform(35.0, 80.0)
    crosswise = rng.random() < 0.5
    run, stack = (frame.depth, frame.length) if crosswise else (frame.length, frame.depth)
    length = min(length, run * 0.95)
    per_row = max(1, int(run // (length + 8.0)))
    buildings: list[Polygon] = []
    for v in np.arange(spacing / 2, stack, spacing):
        for index in range(per_row):
            if rng.random() < 0.12:
                continue
            u = (index + 0.5) * run / per_row + rng.normal(0.0, 2.0)
            along = length * rng.uniform(0.75, 1.0)
            slab = _rectangle(u, v, depth, along) if crosswise else _rectangle(u, v, along, depth)
            if crosswise:
                slab = affinity.translate(slab, v - u, u - v)
            buildings.append(frame.place(slab))
    return _keep_inside(block, buildings)


def halls(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return one or two large halls with smaller parts attached."""
    frame = Frame.of(block)
    split = rng.random() < 0.5
    buildings: list[Polygon] = []
    for u_min, u_max in [(0.0, 0.5), (0.5, 1.0)] if split else [(0.0, 1.0)]:
        length = (u_max - u_min) * frame.length
        along, across = length * rng.uniform(0.5, 0.95), frame.depth * rng.uniform(0.5, 0.95)
        u, v = u_min * frame.length + length / 2, frame.depth / 2
        hall = _rectangle(u, v, min(along, 100.0), min(across, 80.0))
        for _ in range(rng.integers(0, 4)):
            edge_u, edge_v = (
                u + rng.choice([-1, 1]) * along / 2,
                v + rng.uniform(-0.4, 0.4) * across,
            )
            part = _rectangle(edge_u, edge_v, rng.uniform(8, 26), rng.uniform(8, 26))
            hall = hall.union(part) if rng.random() < 0.6 else hall.difference(part)
        buildings.extend(frame.place(part) for part in polygon_parts(hall))
    return _with_sheds(block, rng, _keep_inside(block, buildings, share=0.35))


def compounds(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return a few buildings of several wings (schools, offices, towers), each an L, T, H or X."""
    frame = Frame.of(block)
    buildings: list[Polygon] = []
    for _ in range(rng.integers(1, 4)):
        u, v = rng.uniform(0.15, 0.85) * frame.length, rng.uniform(0.2, 0.8) * frame.depth
        length, depth = rng.uniform(22.0, 60.0), rng.uniform(9.0, 18.0)
        shape = _rectangle(u, v, length, depth)
        for _ in range(rng.integers(1, 4)):
            wing_u = u + rng.uniform(-0.5, 0.5) * length
            wing = _rectangle(wing_u, v + rng.normal(0, 8), depth, rng.uniform(18.0, 45.0))
            shape = shape.union(wing)
        shape = affinity.rotate(shape, rng.choice([0.0, 90.0, 45.0], p=[0.45, 0.45, 0.1]))
        buildings.extend(frame.place(part) for part in polygon_parts(shape))
    return _with_sheds(block, rng, _keep_inside(block, buildings))


def scattered(block: Polygon, rng: np.random.Generator) -> list[Polygon]:
    """Return open land with at most a few small buildings."""
    frame = Frame.of(block)
    buildings: list[Polygon] = []
    for _ in range(rng.integers(0, 5)):
        u, v = rng.uniform(0.1, 0.9) * frame.length, rng.uniform(0.1, 0.9) * frame.depth
        shape = _rectangle(u, v, rng.uniform(6.0, 25.0), rng.uniform(6.0, 14.0))
        buildings.append(frame.place(affinity.rotate(shape, rng.choice([0.0, 90.0]))))
    return _with_sheds(block, rng, _keep_inside(block, buildings))


@dataclass(frozen=True)
class Development:
    """A kind of development and the blocks it stands on."""

    build: Callable[[Polygon, np.random.Generator], list[Polygon]]
    block_depth: tuple[float, float]
    """Range of the short side of a block in metres; longer ones are cut by streets."""
    block_length: tuple[float, float]
    """Range of the long side of a block in metres."""
    weight: float
    """How common the kind is among districts."""


DEVELOPMENTS = {
    "detached houses": Development(detached_houses, (30, 60), (70, 160), 0.18),
    "apartment houses": Development(apartment_houses, (45, 65), (80, 160), 0.26),
    "terraces": Development(terraces, (35, 60), (80, 180), 0.13),
    "perimeter block": Development(perimeter_block, (45, 75), (70, 140), 0.13),
    "slabs": Development(slabs, (70, 120), (90, 160), 0.08),
    "halls": Development(halls, (60, 110), (80, 150), 0.11),
    "compounds": Development(compounds, (70, 120), (80, 140), 0.06),
    "scattered": Development(scattered, (80, 140), (80, 160), 0.05),
}
