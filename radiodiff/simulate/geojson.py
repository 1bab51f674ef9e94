"""Reads layers of a city from GeoJSON in longitude and latitude, as OpenStreetMap exports it.

Coordinates are projected to metres on the plane that touches the WGS84 ellipsoid at the centre of
the area. Over the 20 km allowed here the scale is true to 0.3 % up to 60 degrees
of latitude.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

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
        semi_major, eccentricity_2 = 6_378_137.0, 6.694_379_990_14e-3
        latitude = np.deg2rad((self.bounds[1] + self.bounds[3]) / 2)
        w = np.sqrt(1.0 - eccentricity_2 * np.sin(latitude) ** 2)
        normal, meridional = semi_major / w, semi_major * (1.0 - eccentricity_2) / w**3
        return (
            float(np.deg2rad(normal * np.cos(latitude))),
            float(np.deg2rad(meridional)),
        )

    @property
    def extent_m(self) -> tuple[float, float]:
        """(east-west, north-south) extent in metres."""
        west, south, east, north = self.bounds
        x_scale, y_scale = self.metres_per_degree
        return (east - west) * x_scale, (north - south) * y_scale

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
    """One feature of a file: its geometry in degrees and its tags."""

    geometry: BaseGeometry
    tags: dict[str, Any]


def read_features(path: str | Path) -> list[Feature]:
    """Read a GeoJSON file in longitude and latitude.

    Raises:
        InputError: the file is missing, no GeoJSON, or in another projection.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        items = content.get("features", [])
    elif kind == "Feature":
        items = [content]
    else:
        raise InputError(
            f"{path}: not GeoJSON: expected a FeatureCollection, found type {kind!r}; export the "
            "area as GeoJSON (Overpass: Export > GeoJSON, or osmtogeojson)"
        )
    _check_reference_system(path, content.get("crs"))
    read = (_feature(path, index, item) for index, item in enumerate(items))
    features = [feature for feature in read if feature is not None]
    _check_degrees(path, [feature.geometry for feature in features])
    return features


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


def footprints(features: list[Feature]) -> list[BaseGeometry]:
    """Return the buildings: features tagged so, or every polygon if none of them is."""
    areas = [f for f in features if f.geometry.geom_type in ("Polygon", "MultiPolygon")]
    tagged = [f for f in areas if f.tags.get("building") or f.tags.get("building:part")]
    return [
        f.geometry
        for f in tagged or areas
        if f.tags.get("building") != "no" and f.tags.get("location") != "underground"
    ]


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
        return Feature(shapely.force_2d(shape(geometry)), dict(item.get("properties") or {}))
    except (KeyError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{path}: feature {index} has no valid geometry ({error})") from None


def _check_reference_system(path: Path, crs: Any) -> None:
    """Refuse the `crs` member of old GeoJSON if it names anything but longitude and latitude."""
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = str(properties.get("name", "")) if isinstance(properties, dict) else ""
    if not name.upper().endswith(("CRS84", "EPSG::4326", "EPSG:4326")):
        raise InputError(
            f"{path}: is in the projection {name!r}; convert it to longitude and latitude first "
            f"(ogr2ogr -t_srs EPSG:4326 out.geojson {path.name})"
        )


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
