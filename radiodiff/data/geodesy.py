"""Degrees, metres and coordinate reference systems."""

from __future__ import annotations

from typing import Any

import numpy as np

from radiodiff.errors import InputError

WGS84 = "EPSG:4326"
SEMI_MAJOR_M = 6_378_137.0
"""Semi-major axis of the WGS84 ellipsoid."""
ECCENTRICITY_SQUARED = 6.694_379_990_14e-3
AREA_MARGIN_DEGREES = 5.0
"""Degrees by which a position may lie outside the area that a reference system is made for."""


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Return metres per degree of longitude and of latitude on WGS84.

    The radii are those of the prime vertical and of the meridian at ``latitude`` (degrees).
    """
    angle = np.deg2rad(latitude)
    w = np.sqrt(1.0 - ECCENTRICITY_SQUARED * np.sin(angle) ** 2)
    normal = SEMI_MAJOR_M / w
    meridional = SEMI_MAJOR_M * (1.0 - ECCENTRICITY_SQUARED) / w**3
    return float(np.deg2rad(normal * np.cos(angle))), float(np.deg2rad(meridional))


def geojson_crs(content: Any) -> str | None:
    """Return the name in the ``crs`` member of old GeoJSON, or None."""
    crs = content.get("crs") if isinstance(content, dict) else None
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    return str(name) if name else None


def is_wgs84(crs: str) -> bool:
    """Say whether a name means longitude and latitude on WGS84, in whatever spelling."""
    return crs.upper().replace("::", ":").endswith(("CRS84", "EPSG:4326"))


def parse_crs(crs: str) -> Any:
    """Return the ``pyproj.CRS`` of a name such as ``EPSG:32632``.

    Raises:
        InputError: pyproj is not installed, or does not know the name.
    """
    try:
        import pyproj
    except ImportError:
        raise InputError(
            f"the coordinate system {crs!r} needs pyproj; install it with "
            "pip install 'radiodiff[geo]', or convert the file to longitude and latitude"
        ) from None
    try:
        return pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError:
        raise InputError(
            f"the coordinate system {crs!r} is not known; expected a code such as EPSG:32632"
        ) from None


def is_geographic(crs: str) -> bool:
    """Say whether a coordinate system is in degrees of longitude and latitude.

    Raises:
        InputError: pyproj is needed and not installed, or the name is not known.
    """
    return is_wgs84(crs) or bool(parse_crs(crs).is_geographic)


def transform(
    x: np.ndarray, y: np.ndarray, source: str, target: str
) -> tuple[np.ndarray, np.ndarray]:
    """Convert positions between coordinate systems; x is always the easting or the longitude.

    Args:
        x: (N,) eastings or longitudes.
        y: (N,) northings or latitudes.
        source: name of the system they are in.
        target: name of the system wanted.

    Returns:
        x and y in the target; infinite where a position has none there.

    Raises:
        InputError: pyproj is needed and not installed, or a name is not known.
    """
    if is_wgs84(source) and is_wgs84(target):
        return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    systems = parse_crs(source), parse_crs(target)
    import pyproj

    converter = pyproj.Transformer.from_crs(*systems, always_xy=True)
    found_x, found_y = converter.transform(x, y)
    return np.asarray(found_x), np.asarray(found_y)


def metres_per_unit(crs: str | None, degrees: bool, x: float, y: float) -> tuple[float, float]:
    """Return metres on the ground per unit of x and of y around a position.

    For a projected system these hold its unit (feet, say) and its scale, which is 1.5 for Web
    Mercator at 49 degrees of latitude.

    Args:
        crs: the system of x and y; null for local metres or WGS84.
        degrees: whether x and y are degrees.
        x: easting or longitude.
        y: northing or latitude.

    Raises:
        InputError: pyproj is needed and not installed, or the name is not known.
    """
    if degrees:
        return metres_per_degree(y)
    if crs is None:
        return 1.0, 1.0
    corner_x, corner_y = np.array([x, x + 1.0, x]), np.array([y, y, y + 1.0])
    longitude, latitude = transform(corner_x, corner_y, crs, WGS84)
    east_m, north_m = metres_per_degree(float(latitude[0]))
    step = np.hypot(np.diff(longitude)[0] * east_m, np.diff(latitude)[0] * north_m)
    side = np.hypot((longitude[2] - longitude[0]) * east_m, (latitude[2] - latitude[0]) * north_m)
    return _tidy(float(step)), _tidy(float(side))


def check_area(crs: str, x: float, y: float, where: str) -> None:
    """Refuse a position outside the area that a coordinate system is made for.

    Raises:
        InputError: the position lies elsewhere, so the system or the columns are wrong.
    """
    if is_wgs84(crs):
        return
    area = parse_crs(crs).area_of_use
    longitude, latitude = (float(v[0]) for v in transform(np.array([x]), np.array([y]), crs, WGS84))
    if area is None:
        return
    margin = AREA_MARGIN_DEGREES
    if not (
        area.west - margin <= longitude <= area.east + margin
        and area.south - margin <= latitude <= area.north + margin
    ):
        raise InputError(
            f"{where}: the positions, around ({x:.6g}, {y:.6g}), do not lie in the area of {crs} "
            f"({area.name}); check survey.crs, survey.coordinates and survey.columns"
        )


def guess_utm(x: np.ndarray, y: np.ndarray) -> bool:
    """Say whether (N,) numbers look like UTM: 100 to 900 km east, over 100 km north."""
    return bool(((x > 1e5) & (x < 9e5)).all() and ((y > 1e5) & (y < 1e7)).all())


def utm_zone(longitude: float, latitude: float) -> str:
    """Return the EPSG code of the UTM zone (WGS84) that a position in degrees lies in."""
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def _tidy(scale: float) -> float:
    """Return 1 for the scale of a true projection, which is within 0.1 % of 1 (UTM: 0.04 %)."""
    return 1.0 if abs(scale - 1.0) < 2e-3 else scale
