"""Speed of the dominant path engine: maps per second, and how the cost grows with the corners."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import shapely

from radiodiff.data.polygons import rasterise
from radiodiff.memory import peak_memory
from radiodiff.simulate.dominant_path import Layout
from radiodiff.units import MAP_SIZE

CORNERS = (50, 150, 400)


class Timing(NamedTuple):
    """Seconds of processor time of one layout, and of each of its transmitters."""

    corners: int
    layout_s: float
    transmitter_s: float
    memory_mib: float

    def maps_per_second(self, transmitters: int, cores: int) -> float:
        """Return the rate on that many cores at that many transmitters per layout."""
        return cores * transmitters / (self.layout_s + transmitters * self.transmitter_s)


def scattered_buildings(count: int, generator: np.random.Generator) -> list[shapely.Polygon]:
    """Return rectangles of random size and bearing in the squares of a grid."""
    side = int(np.ceil(np.sqrt(count)))
    spacing = MAP_SIZE / side
    polygons = []
    for index in generator.permutation(side * side)[:count]:
        row, col = divmod(int(index), side)
        half = spacing * generator.uniform(0.22, 0.36, size=2)
        box = shapely.box(-half[0], -half[1], half[0], half[1])
        turned = shapely.affinity.rotate(box, generator.uniform(0.0, 90.0))
        moved = shapely.affinity.translate(turned, (col + 0.5) * spacing, (row + 0.5) * spacing)
        polygons.append(shapely.transform(moved, np.rint))
    return polygons


def time_engine(buildings: int, transmitters: int, seed: int) -> Timing:
    """Time a layout of rectangles from its mask on, and some of its transmitters."""
    generator = np.random.default_rng(seed)
    mask = rasterise(scattered_buildings(buildings, generator), (MAP_SIZE, MAP_SIZE))
    begin = time.process_time()
    layout = Layout.from_mask(mask)
    built = time.process_time()
    for row, col in generator.permutation(layout.pixels)[:transmitters]:
        layout.path_gain((row, col))
    end = time.process_time()
    return Timing(
        len(layout.corners.position),
        built - begin,
        (end - built) / transmitters,
        1024.0 * peak_memory(),
    )


def benchmark_engine(transmitters: int) -> dict[str, Timing]:
    """Return the timings of 80 buildings and of layouts with about as many corners as CORNERS."""
    time_engine(4, 1, seed=0)  # compiles
    timings = {"80 buildings": time_engine(80, transmitters, seed=1)}
    for corners in CORNERS:
        timings[f"{corners} corners"] = time_engine(round(corners / 4), transmitters, seed=2)
    return timings
