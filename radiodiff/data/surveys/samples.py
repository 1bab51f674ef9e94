"""The samples of a survey: rows of a table that hold a position and a value, on a map's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from radiodiff.data import geodesy
from radiodiff.data.surveys.columns import (
    find_column,
    find_columns,
    is_latitude,
    is_longitude,
    several_transmitters,
)
from radiodiff.data.surveys.grid import Grid, make_grid
from radiodiff.data.surveys.json_table import GEOMETRY_X, SHORT
from radiodiff.data.surveys.rules import (
    Rows,
    drop_far_positions,
    drop_implausible,
    drop_sentinels,
    drop_zero_positions,
)
from radiodiff.data.surveys.settings import Scalar, SurveySettings
from radiodiff.data.surveys.table import Table, read_table, to_numbers
from radiodiff.data.text_files import file_hash
from radiodiff.errors import InputError

MAX_GARBLED_SHARE = 0.5
"""Share of rows without a readable position or value above which a file is refused."""
MIN_EXTENT_M = 0.5
"""Positions in metres that reach over less are no survey, but degrees."""
MIN_GROUP_ROWS = 3
"""Rows of one transmitter from which a map is made."""
NO_POSITION, NO_VALUE = "no position", "no value"
GARBLED_POSITION, GARBLED_VALUE = "position is no number", "value is no number"
SHORT_ROW, OFF_GLOBE = "row too short", "position not on the globe"


@dataclass(frozen=True)
class SurveySamples:
    """Samples of one map.

    Attributes:
        position: (N, 2) x and y in the coordinates of ``grid``.
        xy: (N, 2) metres east and north of the centre of pixel (0, 0).
        values: (N,) as in the file: received power in dBm, or path gain in dB.
        noise_std_db: (N,) standard deviations from the file, or None.
        grid: of the map.
        path: the file.
        sha256: its hash.
        rows: rows of the file.
        columns: "x", "y", "value" -> column read.
        dropped: rule -> rows left out by it.
        notes: what the user should know, sentences.
    """

    position: np.ndarray
    xy: np.ndarray
    values: np.ndarray
    noise_std_db: np.ndarray | None
    grid: Grid
    path: Path
    sha256: str
    rows: int
    columns: dict[str, str]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def distances(self) -> tuple[np.ndarray, float]:
        """Return metres from each pixel, (H, W), to the nearest sample, and the median spacing."""
        places = np.unique(self.xy, axis=0)
        tree = cKDTree(places)
        spacing = float(np.median(tree.query(places, k=2)[0][:, 1])) if len(places) > 1 else 0.0
        return tree.query(self.grid.pixel_metres())[0], spacing


def read_samples(
    path: str | Path, settings: SurveySettings, grid: Grid | None = None
) -> SurveySamples:
    """Read the samples of one map.

    Args:
        path: a table; see :func:`radiodiff.data.surveys.table.read_table`.
        settings: how to read it.
        grid: of another survey that these samples belong to (held-out ones), whose coordinates
            they are put into; null makes one.

    Raises:
        InputError: the file is no such table, a column is missing, most rows are bad, positions
            and settings contradict each other, or no sample is left.
    """
    path = Path(path)
    table = read_table(path, settings.delimiter, settings.encoding)
    frame, notes = table.frame, list(table.notes)
    total = len(frame) + sum(table.left_out.values())
    columns, said = find_columns(
        path, table, {k: getattr(settings.columns, k) for k in ("x", "y", "value")}
    )
    notes += said
    if settings.where:
        chosen = _matches(path, table, settings.where)
        notes.append(f"survey.where takes {int(chosen.sum())} of {len(frame)} rows")
        frame = frame[chosen].reset_index(drop=True)
    # 1. Numbers; rows without a position or a value.
    rows = Rows(np.ones(len(frame), dtype=bool), dict(table.left_out))
    numbers = {}
    short = frame[SHORT].to_numpy(dtype=bool) if SHORT in frame else np.zeros(len(frame), bool)
    for key in ("value", "x", "y"):
        numbers[key], missing = to_numbers(frame[columns[key]], settings.decimal)
        absent = np.isnan(numbers[key])
        rows.drop(SHORT_ROW, absent & short)
        rows.drop(NO_VALUE if key == "value" else NO_POSITION, absent & missing)
        rows.drop(GARBLED_VALUE if key == "value" else GARBLED_POSITION, absent)
    x, y, values = numbers["x"], numbers["y"], numbers["value"]
    std = None
    if settings.columns.noise_std_db is not None:
        name = find_column(
            path, table, settings.columns.noise_std_db, "survey.columns.noise_std_db"
        )
        std = to_numbers(frame[name], settings.decimal)[0]
        rows.drop("noise is not > 0", ~(std > 0))
    _refuse_most_garbled(path, rows, total, frame, columns)
    # 2. Values that are no measurement, positions that are none.
    if "sentinels" not in settings.keep:
        drop_sentinels(rows, values, settings.sentinels)
    drop_implausible(rows, values)
    _check_any(path, rows)
    crs, degrees = _coordinates(path, x[rows.kept], y[rows.kept], columns, settings, table)
    if degrees:
        _check_degrees(path, x[rows.kept], y[rows.kept])
        rows.drop(OFF_GLOBE, (np.abs(x) > 180) | (np.abs(y) > 90))
    if "zero_positions" not in settings.keep:
        drop_zero_positions(rows, x, y, degrees)
    _check_any(path, rows)
    # 3. The system of the outputs, the grid.
    x, y, crs, degrees, said = _to_output_system(path, rows, x, y, crs, degrees, settings)
    notes += said
    middle = float(np.median(x[rows.kept])), float(np.median(y[rows.kept]))
    scale = geodesy.metres_per_unit(crs, degrees, *middle)
    if "far_positions" not in settings.keep:
        drop_far_positions(rows, np.stack([x * scale[0], y * scale[1]], axis=1))
    x, y, values = x[rows.kept], y[rows.kept], values[rows.kept]
    if not degrees and crs is None:
        _check_metres(path, x, y, columns)
    if grid is None:
        grid, said = make_grid(path, x, y, scale, settings, degrees, crs)
        notes += said
    elif (grid.crs, grid.coordinates) != (crs, "degrees" if degrees else "metres"):
        raise InputError(
            f"{path}: the positions are in {'degrees' if degrees else crs or 'metres'}, those of "
            f"the survey in {grid.crs or grid.coordinates}"
        )
    xy = grid.to_metres(grid.to_pixels(x, y))
    # 4. Whose samples these are.
    kept = frame[rows.kept].reset_index(drop=True)
    used = [*settings.where, *columns.values()]
    mixed = several_transmitters(kept, xy, values, used)
    notes += [] if mixed is None else [mixed]
    return SurveySamples(
        np.stack([x, y], axis=1),
        xy,
        values,
        None if std is None else std[rows.kept],
        grid,
        path,
        file_hash(path),
        total,
        columns,
        rows.dropped,
        tuple(notes),
    )


def group_values(path: str | Path, settings: SurveySettings) -> tuple[list[str], list[str]]:
    """Return the values of the column ``survey.group_by``, those with most rows first.

    Returns:
        The values with enough rows for a map, and the others.

    Raises:
        InputError: the file cannot be read, or has no such column.
    """
    path = Path(path)
    if settings.group_by is None:
        raise InputError("survey.group_by is not set; it names the column of the transmitter")
    table = read_table(path, settings.delimiter, settings.encoding)
    name = find_column(path, table, settings.group_by, "survey.group_by")
    labels = table.frame[name].map(_label)
    if settings.where:
        labels = labels[_matches(path, table, settings.where)]
    counts = labels[labels != ""].value_counts()
    enough = counts >= MIN_GROUP_ROWS
    return [str(v) for v in counts.index[enough]], [str(v) for v in counts.index[~enough]]


def dropped_lines(dropped: Mapping[str, int]) -> list[str]:
    """Return the rows left out as sentences, one for each rule."""
    return [
        f"left out {count} row{'s' if count != 1 else ''}: {rule}"
        for rule, count in sorted(dropped.items(), key=lambda item: -item[1])
    ]


def _matches(path: Path, table: Table, where: Mapping[str, Scalar | list[Scalar]]) -> np.ndarray:
    chosen = np.ones(len(table.frame), dtype=bool)
    for key, wanted in where.items():
        name = find_column(path, table, key, "survey.where")
        labels = table.frame[name].map(_label)
        accepted = {_label(value) for value in (wanted if isinstance(wanted, list) else [wanted])}
        chosen &= labels.isin(accepted).to_numpy()
        if not chosen.any():
            there = ", ".join(map(str, labels.value_counts().index[:8]))
            raise InputError(f"{path}: no row has survey.where {key}={wanted}; it has {there}")
    return chosen


def _label(value: object) -> str:
    """Return a field as text in which 17, 17.0 and " 17" are one."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    text = str(value).strip(" \t\"'")
    try:
        number = float(text)
    except ValueError:
        return text
    return text if not np.isfinite(number) or number != int(number) else str(int(number))


def _refuse_most_garbled(
    path: Path, rows: Rows, total: int, frame: pd.DataFrame, columns: dict[str, str]
) -> None:
    garbled = sum(n for rule, n in rows.dropped.items() if rule not in (NO_VALUE,))
    if garbled > MAX_GARBLED_SHARE * total or not rows.kept.any():
        said = ", ".join(f"{count} {rule}" for rule, count in rows.dropped.items())
        example = {key: str(frame[name].iloc[0]) for key, name in columns.items()} if total else {}
        raise InputError(
            f"{path}: most of the {total} rows cannot be used ({said or 'there is none'}); the "
            f"first reads {example}; check survey.columns, survey.delimiter and survey.decimal"
        )


def _check_any(path: Path, rows: Rows) -> None:
    if not rows.kept.any():
        said = ", ".join(f"{count} by {rule}" for rule, count in rows.dropped.items())
        raise InputError(f"{path}: holds no sample; all rows were left out ({said})")


def _coordinates(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    columns: dict[str, str],
    settings: SurveySettings,
    table: Table,
) -> tuple[str | None, bool]:
    """Return the coordinate system of x and y, and whether they are degrees."""
    on_globe = (np.abs(x) <= 180) & (np.abs(y) <= 90)
    named = is_longitude(columns["x"]) or is_latitude(columns["y"])
    if columns["x"] == GEOMETRY_X:
        if table.crs is not None:
            return table.crs, geodesy.is_geographic(table.crs)
        named = on_globe.mean() > 0.5
    if settings.coordinates is not None:
        degrees = settings.coordinates == "degrees"
    elif settings.crs is not None and geodesy.is_geographic(settings.crs):
        degrees = True
    else:
        degrees = named and on_globe.mean() > 0.5
    if settings.crs is None or geodesy.is_wgs84(settings.crs):
        return None, degrees
    geographic = geodesy.is_geographic(settings.crs)
    if geographic and not degrees:
        raise InputError(
            f"{path}: survey.crs {settings.crs} is in degrees, survey.coordinates is metres"
        )
    return (None if degrees and not geographic else settings.crs), degrees


def _check_degrees(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    off = (np.abs(x) > 180) | (np.abs(y) > 90)
    if off.mean() <= MAX_GARBLED_SHARE:
        return
    east, north = float(np.median(x)), float(np.median(y))
    if abs(east) <= 90 and abs(north) <= 180:
        raise InputError(
            f"{path}: x and y, around ({east:.6g}, {north:.6g}), are not degrees of longitude and "
            "latitude; swap survey.columns.x and survey.columns.y"
        )
    utm = (
        "; they look like UTM, so name its zone, such as survey.crs=EPSG:32632"
        if geodesy.guess_utm(x, y)
        else ""
    )
    raise InputError(
        f"{path}: x and y, around ({east:.8g}, {north:.8g}), are not degrees of longitude and "
        f"latitude; set survey.coordinates=metres{utm}"
    )


def _check_metres(path: Path, x: np.ndarray, y: np.ndarray, columns: dict[str, str]) -> None:
    named = is_longitude(columns["x"]) and is_latitude(columns["y"])
    on_globe = bool((np.abs(x) <= 180).all() and (np.abs(y) <= 90).all())
    extent = max(float(np.ptp(x)), float(np.ptp(y)))
    if on_globe and (named or (len(x) > 1 and 0 < extent < MIN_EXTENT_M)):
        raise InputError(
            f"{path}: x and y ({columns['x']!r} and {columns['y']!r}) reach over {extent:.3g} "
            "metres and look like degrees; set survey.coordinates=degrees"
        )


def _to_output_system(
    path: Path,
    rows: Rows,
    x: np.ndarray,
    y: np.ndarray,
    crs: str | None,
    degrees: bool,
    settings: SurveySettings,
) -> tuple[np.ndarray, np.ndarray, str | None, bool, list[str]]:
    """Convert positions to ``survey.crs``; say where a system is missing."""
    notes = []
    kept = rows.kept
    target = settings.crs
    source = crs or (geodesy.WGS84 if degrees else None)
    if source is not None and crs is not None:
        geodesy.check_area(crs, float(np.median(x[kept])), float(np.median(y[kept])), str(path))
    if target is not None and source is not None and source != target:
        x, y = geodesy.transform(x, y, source, target)
        rows.drop(OFF_GLOBE, ~(np.isfinite(x) & np.isfinite(y)))
        crs, degrees = target, geodesy.is_geographic(target)
        _check_any(path, rows)
        if not geodesy.is_wgs84(target):
            middle = float(np.median(x[rows.kept])), float(np.median(y[rows.kept]))
            geodesy.check_area(target, *middle, str(path))
    elif not degrees and crs is None and geodesy.guess_utm(x[kept], y[kept]):
        notes.append(
            "x and y look like UTM; name its zone, such as survey.crs=EPSG:32632, so that the "
            "outputs can be put on a map"
        )
    if crs is not None and geodesy.is_wgs84(crs):
        crs = None
    return x, y, crs, degrees, notes
