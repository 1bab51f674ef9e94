"""Statistics of a building layout, to compare simulated cities with real ones.

Everything is measured on the building mask, so that a real layout, of which only the mask is known,
and a simulated one are measured alike. The figures of the real layouts are kept in
``layout_statistics.yaml``, written by ``scripts/layout_statistics.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
import shapely
import yaml
from scipy import ndimage

from radiodiff.data.binary import as_mask
from radiodiff.data.polygons import polygon_rings, polygons_from_mask

STATISTICS = {
    "density": "share of the map that is built up",
    "buildings": "number of buildings (4-connected) per map",
    "area_median": "median footprint, m2",
    "area_largest": "largest footprint, m2",
    "small_share": "share of buildings below 100 m2",
    "vertices": "mean corners per building",
    "elongation": "median length / width of a building's smallest enclosing rectangle",
    "rectangularity": "mean footprint / area of that rectangle",
    "alignment": "agreement of the walls' directions modulo 90 degrees, 0 random .. 1 one grid",
    "gap_median": "median distance from a building to the nearest other one, m",
    "openness_median": "median distance from an outdoor pixel to the nearest wall, m",
    "openness_p90": "90th percentile of that distance, m",
    "enclosed": "outdoor pixels in courtyards without an opening, share of the map",
}
"""Name of a statistic -> what it means."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def layout_statistics(mask: np.ndarray) -> dict[str, float]:
    """Measure one layout.

    Args:
        mask: (H, W) bool or 0/1, True inside buildings; one pixel is 1 m. At least two buildings.

    Returns:
        the value of every name in :data:`STATISTICS`.
    """
    mask = as_mask(mask)
    polygons = polygons_from_mask(mask)
    areas = np.array([polygon.area for polygon in polygons])
    rectangles = shapely.minimum_rotated_rectangle(polygons)
    sides = np.array([_sides(rectangle) for rectangle in rectangles])
    outdoors = ~mask
    distance = ndimage.distance_transform_edt(outdoors)[outdoors]
    regions, _ = ndimage.label(outdoors)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return {
        "density": float(mask.mean()),
        "buildings": float(len(polygons)),
        "area_median": float(np.median(areas)),
        "area_largest": float(areas.max()),
        "small_share": float((areas < 100.0).mean()),
        "vertices": float(np.mean([shapely.get_num_coordinates(p) - 1 for p in polygons])),
        "elongation": float(np.median(sides.max(axis=1) / sides.min(axis=1))),
        "rectangularity": float(np.mean(areas / sides.prod(axis=1))),
        "alignment": _alignment(polygons),
        "gap_median": float(np.median(_gaps(polygons))),
        "openness_median": float(np.median(distance)),
        "openness_p90": float(np.quantile(distance, 0.9)),
        "enclosed": float((outdoors & ~np.isin(regions, border)).mean()),
    }


def summarise(layouts: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return the quantiles 0, 25, 50, 75 and 100 % of every statistic over layouts."""
    return {
        name: [float(q) for q in np.quantile([layout[name] for layout in layouts], QUANTILES)]
        for name in STATISTICS
    }


def real_statistics() -> dict[str, list[float]]:
    """Return the quantiles of 24 layouts of RadioMapSeer, as :func:`summarise` gives them."""
    source = resources.files("radiodiff.simulate") / "layout_statistics.yaml"
    return yaml.safe_load(source.read_text(encoding="utf-8"))["quantiles"]


def _sides(rectangle: shapely.Polygon) -> tuple[float, float]:
    corners = np.asarray(rectangle.exterior.coords)
    first, second = np.linalg.norm(np.diff(corners[:3], axis=0), axis=1)
    return float(first), float(second)


def _alignment(polygons: Sequence[shapely.Polygon]) -> float:
    """Return |sum l exp(4 i angle)| / sum l over walls of length l."""
    total, length = 0.0 + 0.0j, 0.0
    for ring in polygon_rings(polygons):
        walls = np.roll(ring, -1, axis=0) - ring
        lengths = np.hypot(walls[:, 0], walls[:, 1])
        total += np.sum(lengths * np.exp(4j * np.arctan2(walls[:, 0], walls[:, 1])))
        length += lengths.sum()
    return float(np.abs(total) / length)


def _gaps(polygons: Sequence[shapely.Polygon]) -> np.ndarray:
    """Return the distance of every building to its nearest neighbour, in metres."""
    tree = shapely.STRtree(polygons)
    _, distances = tree.query_nearest(
        polygons, exclusive=True, all_matches=False, return_distance=True
    )
    return distances
