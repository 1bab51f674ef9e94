"""Write a simulated city of any size as GeoJSON, to try ``radiodiff predict`` or to time it.

    python studies/simulated_city.py 2000 2000 city.geojson

Rows and columns are metres; the city is made of blocks of 256 m. It prints an outdoor position for
``--tx``, near the middle.
"""

import argparse
from pathlib import Path

import numpy as np
import shapely
from shapely import affinity

from radiodiff.cli import run_main
from radiodiff.data.geodesy import metres_per_degree
from radiodiff.files import write_json
from radiodiff.simulate.procedural import procedural_city

BLOCK = 256
SEED = 100
LONGITUDE, LATITUDE = 12.5, 48.1
"""Of the south-western corner."""
CLEARANCE_M = 3.0
"""Least distance of the transmitter from a wall."""


def main() -> None:
    """Write the city."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, help="metres from north to south")
    parser.add_argument("columns", type=int, help="metres from west to east")
    parser.add_argument("output", type=Path, help="GeoJSON to write")
    arguments = parser.parse_args()
    rows, columns = arguments.rows, arguments.columns
    per_degree = np.array(metres_per_degree(LATITUDE))

    def to_degrees(xy: np.ndarray) -> np.ndarray:
        metres = np.column_stack([xy[:, 0], rows - xy[:, 1]])
        return np.array([LONGITUDE, LATITUDE]) + metres / per_degree

    corners = [(r, c) for r in range(0, rows, BLOCK) for c in range(0, columns, BLOCK)]
    polygons = [
        part
        for number, (row, column) in enumerate(corners)
        for building in procedural_city(np.random.default_rng(SEED + number)).buildings
        for part in shapely.get_parts(
            affinity.translate(building, column, row) & shapely.box(0, 0, columns, rows)
        )
        if part.geom_type == "Polygon" and not part.is_empty
    ]
    features = [
        {
            "type": "Feature",
            "properties": {"building": "yes"},
            "geometry": shapely.geometry.mapping(shapely.transform(polygon, to_degrees)),
        }
        for polygon in polygons
    ]
    write_json(arguments.output, {"type": "FeatureCollection", "features": features})
    walls, rng = shapely.union_all(polygons), np.random.default_rng(0)
    while True:
        place = rng.uniform(0.4, 0.6, 2) * [columns, rows]
        if walls.distance(shapely.Point(place)) > CLEARANCE_M:
            break
    longitude, latitude = to_degrees(place[None])[0]
    print(f"{len(polygons)} buildings; --tx {longitude:.7f},{latitude:.7f}")


if __name__ == "__main__":
    run_main(main)
