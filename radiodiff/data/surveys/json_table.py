"""Tables from JSON: records, columns, GeoJSON points, and sequences of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from radiodiff.data.geodesy import geojson_crs, is_wgs84
from radiodiff.errors import InputError

SHORT = "(short row)"
"""Column of a table that marks rows with too few fields."""
GEOMETRY_X, GEOMETRY_Y = "geometry.x", "geometry.y"
"""Columns that hold the positions of GeoJSON points."""


def table_from_json(path: Path, content: Any) -> tuple[pd.DataFrame, str | None]:
    """Make a table of a JSON value.

    Args:
        path: named in messages.
        content: a list of records (mappings, perhaps nested, whose names are joined by dots) or
            of rows under a row of names; a mapping of names to columns; a mapping that holds one
            such list; a GeoJSON FeatureCollection or Features of points.

    Returns:
        The table, and the name of the coordinate system if a GeoJSON file names one.

    Raises:
        InputError: the value is nothing of these.
    """
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], list):
        content = content[0]
    features = _features(content)
    if features is not None:
        return _points(path, features), _crs(content)
    if isinstance(content, dict):
        content = _unwrap(content)
    if isinstance(content, list):
        if content and all(isinstance(row, list) for row in content):
            header, *rows = content
            if all(isinstance(name, str) for name in header):
                return _frame(path, lambda: pd.DataFrame(rows, columns=header)), None
        records = [record for record in content if isinstance(record, dict)]
        if records:
            return pd.json_normalize(records), None
    elif isinstance(content, dict) and content:
        return _frame(path, lambda: pd.DataFrame(content)), None
    raise InputError(
        f"{path}: the JSON holds no table; expected a list of records such as "
        '[{"lon": 7.75, "lat": 49.42, "rssi": -86}], a mapping of names to columns, or GeoJSON '
        "points"
    )


def _frame(path: Path, make: Any) -> pd.DataFrame:
    try:
        frame = make()
    except ValueError as error:
        raise InputError(f"{path}: the columns of the JSON do not fit together ({error})") from None
    return frame.reset_index(drop=True)


def _unwrap(content: dict[str, Any]) -> Any:
    """Return the rows in a mapping that holds one list of them, else the mapping."""
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        return [content["columns"], *content["data"]]
    lists = [
        value
        for value in content.values()
        if isinstance(value, list) and value and isinstance(value[0], dict | list)
    ]
    if len(lists) == 1:
        return lists[0]
    if content and not any(isinstance(value, list | dict) for value in content.values()):
        return [content]
    return content


def _features(content: Any) -> list[Any] | None:
    """Return the Features of a FeatureCollection, or of a sequence of either; else None."""
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        return list(content.get("features") or [])
    if isinstance(content, dict) and content.get("type") == "Feature":
        return [content]
    if isinstance(content, list) and content:
        found = [_features(item) for item in content]
        if all(items is not None for items in found):
            return [feature for items in found for feature in items or []]
    return None


def _points(path: Path, features: list[Any]) -> pd.DataFrame:
    rows, kinds = [], set()
    for feature in features:
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        geometry = geometry if isinstance(geometry, dict) else {}
        kinds.add(str(geometry.get("type")))
        places = geometry.get("coordinates") or []
        if geometry.get("type") != "MultiPoint":
            places = [places] if geometry.get("type") == "Point" else [[]]
        for place in places:
            position = [*place, None, None][:2] if isinstance(place, list) else [None, None]
            rows.append(
                {
                    GEOMETRY_X: position[0],
                    GEOMETRY_Y: position[1],
                    **(feature.get("properties") or {} if isinstance(feature, dict) else {}),
                }
            )
    if not kinds & {"Point", "MultiPoint"}:
        raise InputError(
            f"{path}: the GeoJSON has no points ({', '.join(sorted(kinds)) or 'no features'}); "
            "samples are points with a property that holds the value"
        )
    return pd.json_normalize(rows)


def _crs(content: Any) -> str | None:
    name = geojson_crs(content)
    return None if name is None or is_wgs84(name) else name
