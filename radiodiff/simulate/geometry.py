"""Small operations on polygons that every source of a city needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

logger = logging.getLogger(__name__)


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
