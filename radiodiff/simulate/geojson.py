"""Reads layers of a city from GeoJSON in longitude and latitude, as OpenStreetMap exports it.

Coordinates are projected to metres on the plane that touches the WGS84 ellipsoid at the centre of
the area. Over the 20 km allowed here the scale is true to 0.3 % up to 60 degrees
of latitude.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from radiodiff.data.geodesy import (
    WGS84,
    geojson_crs,
    is_wgs84,
    metres_per_degree,
    transform,
)
from radiodiff.data.text_files import decode, parse_json, read_bytes
from radiodiff.errors import InputError
from radiodiff.simulate.streets import Street

MAX_EXTENT_M = 20_000.0
MAX_LATITUDE = 84.0
CARRIAGEWAY_M = {
    "motorway": 14.0, "trunk": 12.0, "primary": 10.0, "secondary": 9.0, "tertiary": 8.0,
    "unclassified": 6.5, "residential": 6.5, "living_street": 5.5, "service": 4.5,
}  # fmt: skip
"""OpenStreetMap `highway` class -> width where the export gives none. Other classes (foot and cycle
paths, steps, tracks) carry no vehicles and are left out."""
LANE_M = 3.25
GEOMETRY_TYPES = frozenset(
    ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon")
) | {"GeometryCollection"}
NESTED_TAGS = ("tags", "other_tags")
HSTORE_PAIR = re.compile(r'"([^"]*)"\s*=>\s*"([^"]*)"')
KIND_KEYS = ("type", "class", "kind", "layer", "category", "feature", "feature_type")
"""Properties that may say "building" where a file has no such tag."""
NO_BUILDING = ("no", "false", "none", "0")
OTHER_TAGS = (
    "landuse", "boundary", "admin_level", "place", "leisure", "natural", "water", "waterway",
    "highway", "railway", "amenity", "parking", "area:highway", "bridge", "barrier",
)  # fmt: skip
"""Tags of polygons that are no footprints in a file that tags no building."""
MIN_AREAS = 3
"""Polygons of an untagged file from which one can be told to contain the others."""

Bounds = tuple[float, float, float, float]
"""west, south, east, north in degrees."""


@dataclass(frozen=True)
class Projection:
    """A local projection from degrees to pixel coordinates in metres.

    The north-west corner of the area goes to (0, -1), the corner of a City's frame.

    Attributes:
        bounds: west, south, east, north in degrees.
    """

    bounds: Bounds

    @property
    def metres_per_degree(self) -> tuple[float, float]:
        """Metres per degree of longitude and of latitude at the centre (WGS84 radii)."""
        return metres_per_degree((self.bounds[1] + self.bounds[3]) / 2)

    @property
    def extent_m(self) -> tuple[float, float]:
        """(east-west, north-south) extent in metres."""
        west, south, east, north = self.bounds
        x_scale, y_scale = self.metres_per_degree
        return (east - west) * x_scale, (north - south) * y_scale

    def shape(self, resolution_m: float) -> tuple[int, int]:
        """Rows and columns of pixels of ``resolution_m`` that cover the area."""
        width, height = self.extent_m
        # A remainder of a hundredth of a pixel is rounding of the degrees.
        return math.ceil(height / resolution_m - 0.01), math.ceil(width / resolution_m - 0.01)

    def __call__(self, geometry: BaseGeometry) -> BaseGeometry:
        """Project a geometry in degrees to metres, x to the east and y to the south."""
        x_scale, y_scale = self.metres_per_degree
        west, north = self.bounds[0], self.bounds[3]
        return shapely.transform(
            geometry,
            lambda p: np.stack([(p[:, 0] - west) * x_scale, (north - p[:, 1]) * y_scale - 1.0], 1),
        )


@dataclass(frozen=True)
class Feature:
    """One feature of a file: its geometry, in degrees unless said otherwise, and its tags."""

    geometry: BaseGeometry
    tags: dict[str, Any]


def read_features(path: str | Path) -> list[Feature]:
    """Read a GeoJSON file, in longitude and latitude or in the system that it names.

    Raises:
        InputError: the file is missing, no GeoJSON, or in a projection that it does not name.
    """
    path = Path(path)
    features, crs = parse_features(path)
    if crs is not None:
        features = convert_features(features, crs, WGS84)
    _check_degrees(path, [feature.geometry for feature in features])
    return features


def parse_features(path: Path) -> tuple[list[Feature], str | None]:
    """Read a GeoJSON file in whatever coordinates it has.

    A file is a FeatureCollection, Feature or geometry, or a sequence of these: one after the
    other, one a line, or with the record separators of RFC 8142. A byte order mark is passed over.

    Returns:
        The features, and the coordinate system that the file names (None if it names none, or
        longitude and latitude).

    Raises:
        InputError: the file is missing or no GeoJSON.
    """
    content = parse_json(path, decode(path, read_bytes(path)))
    parts = content if isinstance(content, list) and content else [content]
    items: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "FeatureCollection":
            items += part.get("features") or []
        elif kind == "Feature":
            items.append(part)
        elif kind in GEOMETRY_TYPES:
            items.append({"geometry": part})
        else:
            raise InputError(
                f"{path}: not GeoJSON: expected a FeatureCollection, found type {kind!r}; export "
                "the area as GeoJSON (Overpass: Export > GeoJSON, or osmtogeojson)"
            )
    read = (_feature(path, index, item) for index, item in enumerate(items))
    names = {name for name in map(geojson_crs, parts) if name is not None and not is_wgs84(name)}
    if len(names) > 1:
        raise InputError(f"{path}: names several coordinate systems: {', '.join(sorted(names))}")
    return [feature for feature in read if feature is not None], next(iter(names), None)


def convert_features(features: list[Feature], source: str, target: str) -> list[Feature]:
    """Convert features between coordinate systems.

    Raises:
        InputError: pyproj is not installed, or does not know a system.
    """

    def convert(points: np.ndarray) -> np.ndarray:
        return np.stack(transform(points[:, 0], points[:, 1], source, target), axis=1)

    return [Feature(shapely.transform(f.geometry, convert), f.tags) for f in features]


def bounds_of(features: list[Feature]) -> Bounds:
    """Return west, south, east, north of features in degrees."""
    west, south, east, north = shapely.total_bounds([f.geometry for f in features])
    return float(west), float(south), float(east), float(north)


def area_of(bounds: Bounds, where: str) -> Projection:
    """Return the projection of an area after checking that it can be a city's.

    Raises:
        InputError: west is not west of east, south not south of north, or the area is too large.
    """
    west, south, east, north = bounds
    if not (-180.0 <= west < east <= 180.0 and -MAX_LATITUDE <= south < north <= MAX_LATITUDE):
        raise InputError(
            f"{where}: bounds {bounds} must be west, south, east, north in degrees, west < east, "
            f"south < north and latitudes within {MAX_LATITUDE:.0f} degrees"
        )
    projection = Projection(bounds)
    if max(projection.extent_m) > MAX_EXTENT_M:
        raise InputError(
            f"{where}: reaches over {max(projection.extent_m) / 1000:.0f} km, at most "
            f"{MAX_EXTENT_M / 1000:.0f} km are allowed; are these longitudes and latitudes (WGS84, "
            "EPSG:4326), and not metres?"
        )
    return projection


def footprints(features: list[Feature]) -> tuple[list[BaseGeometry], list[str]]:
    """Return the buildings: features tagged so, or the polygons of a file that tags none.

    A file without tags may hold the outline of the site or land use besides footprints. A polygon
    counts as such if it is tagged as something else, or contains most of the others.

    Returns:
        Polygons and MultiPolygons, and what was left out of them, sentences.
    """
    notes = []
    kept = [f for f in features if f.tags.get("location") != "underground"]
    tagged = [f for f in kept if _is_building(f.tags)]
    areas = [_area(f.geometry, closed_lines=True) for f in tagged]
    without = sum(area is None for area in areas)
    if without:
        notes.append(
            f"left out {without} of {len(tagged)} features tagged as buildings: no polygon"
        )
    if tagged:
        return [area for area in areas if area is not None], notes
    pairs = [(f, _area(f.geometry)) for f in kept if str(f.tags.get("building")) != "no"]
    polygons = [(f, area) for f, area in pairs if area is not None]
    other = [any(key in f.tags for key in OTHER_TAGS) for f, _ in polygons]
    found = [area for (_, area), is_other in zip(polygons, other, strict=True) if not is_other]
    if any(other):
        notes.append(
            f"left out {sum(other)} of {len(other)} polygons, tagged as land use or the like"
        )
    outlines = _containers(found)
    if any(outlines):
        notes.append(
            f"left out {sum(outlines)} of {len(outlines)} polygons, which contain most of the "
            "others, as the outline of a site does; tag buildings with building=yes"
        )
    return [area for area, is_outline in zip(found, outlines, strict=True) if not is_outline], notes


def streets(
    features: list[Feature], project: Callable[[BaseGeometry], BaseGeometry]
) -> list[Street]:
    """Return the streets for vehicles among features, projected to metres."""
    found: list[Street] = []
    for feature in features:
        kind = str(feature.tags.get("highway", "")).removesuffix("_link")
        if kind in CARRIAGEWAY_M:
            width = _carriageway(feature.tags, CARRIAGEWAY_M[kind])
            lines = shapely.get_parts(project(feature.geometry))
            found += [Street(line, width) for line in lines if line.geom_type == "LineString"]
    return found


def _feature(path: Path, index: int, item: Any) -> Feature | None:
    """Return a feature, or None if it has no geometry."""
    try:
        geometry = item["geometry"]
        if geometry is None:
            return None
        return Feature(shapely.force_2d(shape(geometry)), _tags(item.get("properties")))
    except (KeyError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{path}: feature {index} has no valid geometry ({error})") from None


def _tags(properties: Any) -> dict[str, Any]:
    """Return the tags of a feature, also those nested in `tags` or `other_tags`.

    These may be a mapping (osm2geojson), JSON, or the text `"building"=>"yes"` (ogr2ogr).
    """
    own = dict(properties or {})
    nested: dict[str, Any] = {}
    for key in NESTED_TAGS:
        tags = own.get(key)
        if isinstance(tags, str):
            pairs = HSTORE_PAIR.findall(tags)
            try:
                tags = dict(pairs) if pairs else json.loads(tags)
            except ValueError:
                continue
        if isinstance(tags, dict):
            nested.update(tags)
    return {**nested, **own}


def _is_building(tags: dict[str, Any]) -> bool:
    for key, value in tags.items():
        text = str(value).lower()
        if key.lower() in ("building", "building:part") and value:
            return text not in NO_BUILDING
        if key.lower() in KIND_KEYS and text in ("building", "buildings"):
            return True
    return False


def _area(geometry: BaseGeometry, closed_lines: bool = False) -> BaseGeometry | None:
    """Return the polygons of a geometry, of collections within collections too, or None."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return None if geometry.is_empty else geometry
    if geometry.geom_type == "GeometryCollection":
        parts = [_area(part, closed_lines) for part in geometry.geoms]
        found = [p for part in parts if part is not None for p in shapely.get_parts(part)]
        return shapely.multipolygons(found) if found else None
    if closed_lines and geometry.geom_type == "LineString" and geometry.is_ring:
        return shapely.Polygon(geometry)
    return None


def _containers(areas: list[BaseGeometry]) -> list[bool]:
    """Say which polygons contain more than half of the others, and at least two."""
    if len(areas) < MIN_AREAS:
        return [False] * len(areas)
    points = shapely.point_on_surface(np.array(areas, dtype=object))
    tree = shapely.STRtree(points)
    inside, _ = tree.query(shapely.make_valid(np.array(areas, dtype=object)), "contains")
    counts = np.bincount(inside, minlength=len(areas)) - 1  # each contains its own point
    return (counts * 2 > len(areas) - 1).tolist()


def _check_degrees(path: Path, geometries: list[BaseGeometry]) -> None:
    if not geometries:
        return
    west, south, east, north = shapely.total_bounds(geometries)
    if min(west + 180, 180 - east, south + 90, 90 - north) < 0:
        raise InputError(
            f"{path}: coordinates from ({west:.6g}, {south:.6g}) to ({east:.6g}, {north:.6g}) are "
            "no longitudes and latitudes; convert them first (ogr2ogr -t_srs EPSG:4326 "
            f"out.geojson {path.name})"
        )


def _carriageway(tags: dict[str, Any], default: float) -> float:
    """Return a street's width in metres from its tags `width` or `lanes`."""
    for key, scale in (("width", 1.0), ("lanes", LANE_M)):
        try:
            width = scale * float(str(tags[key]).removesuffix("m").strip())
        except (KeyError, ValueError):
            continue
        if 2.0 <= width <= 60.0:
            return width
    return default
