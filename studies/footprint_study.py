"""How well building images alone tell the footprint, and what bounds it.

python studies/footprint_study.py [ROOT] [--layouts 64] [--sweeps 40]

The bound takes about a minute a layout; --sweeps 0 leaves it out.

Every layout is drawn from its polygons by both raster rules: of the maps of ROOT that have polygon
files, and of simulated cities. Polygons fitted to the image are compared with the footprint. The
bound: a random walk moves the true vertices by whole metres as long as the image stays the same.
Where such layouts disagree about a pixel, no method can know it from the image; the best guess is
their majority, which is wrong in the share of the minority.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely

from radiodiff.data.footprints import read_rings
from radiodiff.data.polygons import PNG_RULE, polygon_rings, polygons_from_mask, rasterise
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import MAP_SIZE

SHAPE = (MAP_SIZE, MAP_SIZE)
MARGIN = 3
"""Pixels around a building that a walk may reach."""


def main() -> None:
    """Print a row per layout, then mean and worst of each group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--layouts", type=int, default=64, help="simulated cities")
    parser.add_argument("--sweeps", type=int, default=40, help="of the random walk; 0: no bound")
    arguments = parser.parse_args()
    print("| layout | vertices | fitted | image as it is | fitted, off | bound |")
    print("|---|---|---|---|---|---|")
    groups = {"simulated": simulated(arguments.layouts)}
    if arguments.root is not None:
        groups = {"maps": stored(arguments.root), **groups}
    for group, layouts in groups.items():
        rows = np.array([print_row(name, found, arguments.sweeps) for name, found in layouts])
        if len(rows):
            print_values(f"{group}, mean", rows.mean(axis=0))
            print_values(f"{group}, worst", rows.max(axis=0))


def stored(root: Path) -> Iterator[tuple[str, Sequence[shapely.Polygon]]]:
    """Yield the layouts of the polygon files of a tree."""
    files = (root / "polygon" / "buildings_complete").glob("*.json")
    for path in sorted(files, key=lambda path: int(path.stem)):
        yield path.stem, read_rings(path, SHAPE)


def simulated(count: int) -> Iterator[tuple[str, Sequence[shapely.Polygon]]]:
    """Yield cities of the simulator."""
    for number in range(1, count + 1):
        generator = np.random.default_rng([0, number, 0])
        yield f"simulated {number}", procedural_city(generator, MAP_SIZE).buildings


def print_row(name: str, polygons: Sequence[shapely.Polygon], sweeps: int) -> list[float]:
    """Measure and print one layout."""
    footprint, image = rasterise(polygons, SHAPE), rasterise(polygons, SHAPE, PNG_RULE)
    fitted = polygons_from_mask(image, PNG_RULE)
    values = [
        sum(map(len, polygon_rings(polygons))),
        sum(map(len, polygon_rings(fitted))),
        (image != footprint).sum(),
        (rasterise(fitted, SHAPE) != footprint).sum(),
        sum(ambiguity(polygon, sweeps, seed) for seed, polygon in enumerate(polygons)),
    ]
    print_values(name, values)
    return values


def print_values(name: str, values: Sequence[float]) -> None:
    """Print one row of the table."""
    print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in values) + " |", flush=True)


def ambiguity(polygon: shapely.Polygon, sweeps: int, seed: int) -> float:
    """Return in how many pixels the best guess of a building's footprint is wrong, on average."""
    if sweeps == 0:
        return math.nan
    generator = np.random.default_rng(seed)
    left, top, right, bottom = (int(value) for value in polygon.bounds)
    shape = (bottom - top + 2 * MARGIN + 1, right - left + 2 * MARGIN + 1)
    origin = (left - MARGIN, top - MARGIN)
    rings = [np.array(ring.coords)[:-1] - origin for ring in (polygon.exterior, *polygon.interiors)]
    image = rasterise([shapely.Polygon(rings[0], rings[1:])], shape, PNG_RULE)
    inside = np.zeros(shape)
    for _ in range(sweeps):
        for ring in rings:
            for vertex in range(len(ring)):
                before = ring[vertex].copy()
                ring[vertex] += generator.integers(-1, 2, 2)
                moved = shapely.Polygon(rings[0], rings[1:])
                if not moved.is_valid or (rasterise([moved], shape, PNG_RULE) != image).any():
                    ring[vertex] = before
        inside += rasterise([shapely.Polygon(rings[0], rings[1:])], shape)
    share = inside / sweeps
    return float(np.minimum(share, 1 - share).sum())


if __name__ == "__main__":
    main()
