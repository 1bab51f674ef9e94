"""Power measurements of a survey, read from CSV and placed on a grid."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from radiodiff.config import Settings
from radiodiff.data.measurements import Measurements, combine_points
from radiodiff.errors import InputError
from radiodiff.simulate.geojson import Projection
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, db_std_to_model, db_to_model

MAX_GRID_SIDE = 4096
PLAUSIBLE_DB = (-250.0, 60.0)
"""Measurements outside are no received power in dBm and no path gain in dB."""
MAX_EXCESS = 3.0
"""Standard deviations by which a measurement may lie outside the range of maps; further ones are
cut."""


class ColumnSettings(Settings):
    """Which column holds what."""

    x: str = "x"
    """Easting in metres, or longitude in degrees."""
    y: str = "y"
    """Northing in metres (or rows downwards, see y_axis), or latitude in degrees."""
    value: str = "gain_db"
    """Path gain or received power."""
    noise_std_db: str | None = None
    """Standard deviation of every measurement in dB; null uses one for all."""


class SurveySettings(Settings):
    """How the file is read and which grid it is put on."""

    columns: ColumnSettings = ColumnSettings()
    coordinates: Literal["metres", "degrees"] = "metres"
    """Units of x and y; degrees are WGS84 longitude and latitude."""
    y_axis: Literal["north", "south"] = "north"
    """Direction in which y grows; "south" is an image's."""
    value: Literal["path_gain_db", "received_dbm"] = "path_gain_db"
    """What the value column holds."""
    transmit_power_dbm: float | None = None
    """Needed with received_dbm: path gain is received minus transmitted power."""
    noise_std_db: float | None = Field(default=None, gt=0)
    """Standard deviation of a measurement in dB; null estimates it from measurements that share a
    pixel."""
    duplicates: Literal["refuse", "average"] = "refuse"
    """What to do with measurements at one and the same position that differ."""
    resolution_m: float = Field(default=1.0, gt=0)
    """Metres per pixel. RadioMapSeer, hence a prior trained on it, has 1."""
    origin: tuple[float, float] | None = None
    """x and y of the centre of the first row's first pixel; null puts the samples' corner there."""
    shape: tuple[int, int] | None = None
    """Rows and columns; null covers the samples."""

    @model_validator(mode="after")
    def _check(self) -> SurveySettings:
        if (self.value == "received_dbm") != (self.transmit_power_dbm is not None):
            raise ValueError("transmit_power_dbm goes with value received_dbm, and only with it")
        return self


@dataclass(frozen=True)
class Grid:
    """Cells of a map: where row 0, column 0 is, how large they are, and where north is."""

    origin: tuple[float, float]
    """x and y of the centre of pixel (0, 0), in the survey's own coordinates."""
    pixel: tuple[float, float]
    """Signed change of x per column and of y per row, in the survey's own coordinates."""
    shape: tuple[int, int]
    resolution_m: float
    coordinates: Literal["metres", "degrees"]

    def to_pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return fractional (row, column), (..., 2), of positions in the survey's coordinates."""
        rows, columns = (y - self.origin[1]) / self.pixel[1], (x - self.origin[0]) / self.pixel[0]
        return np.stack([rows, columns], axis=-1)

    def to_survey(self, pixels: np.ndarray) -> np.ndarray:
        """Return (x, y), (..., 2), of (row, column) positions; inverse of :meth:`to_pixels`."""
        x = self.origin[0] + self.pixel[0] * pixels[..., 1]
        y = self.origin[1] + self.pixel[1] * pixels[..., 0]
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Survey:
    """Measurements as read, and as measurements of one map."""

    grid: Grid
    pixels: np.ndarray
    """(N, 2) fractional row and column of every measurement."""
    gain_db: np.ndarray
    """(N,) reported path gain."""
    noise_std_db: np.ndarray
    """(N,) its standard deviation, given or estimated."""
    measurements: Measurements
    """The measurements averaged per pixel, model range."""


def read_survey(path: str | Path, settings: SurveySettings) -> Survey:
    """Read a survey.

    Raises:
        InputError: the file or a column is missing, a field is no number, values cannot be dB,
            positions leave the grid, share one pixel, or repeat with other values.
    """
    path = Path(path)
    table = _read_columns(path, settings.columns)
    x, y, values = (
        table[settings.columns.x],
        table[settings.columns.y],
        _gain(path, table, settings),
    )
    if settings.duplicates == "refuse":
        _refuse_duplicates(path, x, y, values)
    grid = _grid(path, x, y, settings)
    pixels = grid.to_pixels(x, y)
    nearest = np.rint(pixels).astype(np.int64)
    if len(np.unique(nearest, axis=0)) == 1:
        raise InputError(
            f"{path}: all {len(x)} samples fall into one pixel of {settings.resolution_m:g} m; "
            "check the coordinates (metres or degrees) and the resolution"
        )
    if settings.columns.noise_std_db is not None:
        std = table[settings.columns.noise_std_db]
        if not (std > 0).all():
            raise InputError(
                f"{path}: {settings.columns.noise_std_db} holds values that are not > 0"
            )
    else:
        std = np.full(len(x), settings.noise_std_db or _std_within_pixels(path, nearest, values))
    # The noise may carry a measurement out of the range of maps; cutting it off there would bias
    # it.
    gain = np.clip(values, GAIN_MIN_DB - MAX_EXCESS * std, GAIN_MAX_DB + MAX_EXCESS * std)
    try:
        measurements = combine_points(pixels, db_to_model(gain), db_std_to_model(std), grid.shape)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Survey(grid, pixels, values, std, measurements)


def _read_columns(path: Path, columns: ColumnSettings) -> dict[str, np.ndarray]:
    wanted = [columns.x, columns.y, columns.value]
    if columns.noise_std_db is not None:
        wanted.append(columns.noise_std_db)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            missing = [name for name in wanted if name not in header]
            if missing:
                raise InputError(
                    f"{path}: no column {missing[0]!r}; the file has "
                    f"{', '.join(header) or 'none'}; map them with survey.columns"
                )
            rows = [[_number(path, reader.line_num, n, row[n]) for n in wanted] for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from None
    if not rows:
        raise InputError(f"{path}: holds no measurement")
    return dict(zip(wanted, np.array(rows, dtype=np.float64).T, strict=True))


def _number(path: Path, line: int, column: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise InputError(f"{path}, line {line}: {column} is {text!r}, not a number") from None
    if not np.isfinite(value):
        raise InputError(f"{path}, line {line}: {column} is {text!r}; leave such measurements out")
    return value


def _gain(path: Path, table: dict[str, np.ndarray], settings: SurveySettings) -> np.ndarray:
    values = table[settings.columns.value]
    low, high = PLAUSIBLE_DB
    wrong = (values < low) | (values > high)
    if wrong.any():
        raise InputError(
            f"{path}: {settings.columns.value} holds {values[wrong][0]:g}, which is neither dB of "
            f"path gain nor dBm ({low:g} .. {high:g}); path loss needs its sign changed"
        )
    gain = values - (settings.transmit_power_dbm or 0.0)
    if (gain > 0).any():
        raise InputError(
            f"{path}: the path gain reaches {gain.max():g} dB; a passive channel has at most 0. Is "
            "the unit dBm (survey.value received_dbm), or the transmit power too low?"
        )
    return gain


def _refuse_duplicates(path: Path, x: np.ndarray, y: np.ndarray, values: np.ndarray) -> None:
    order = np.lexsort((y, x))
    same = (np.diff(x[order]) == 0) & (np.diff(y[order]) == 0) & (np.diff(values[order]) != 0)
    if same.any():
        first = order[int(np.argmax(same))]
        raise InputError(
            f"{path}: {int(same.sum())} measurements repeat a position with another value, the "
            f"first at ({x[first]:g}, {y[first]:g}); set survey.duplicates=average if "
            "they are repeats"
        )


def _grid(path: Path, x: np.ndarray, y: np.ndarray, settings: SurveySettings) -> Grid:
    down = settings.y_axis == "south"
    if settings.coordinates == "degrees":
        if np.abs(x).max() > 180 or np.abs(y).max() > 90:
            raise InputError(f"{path}: x and y are not degrees of longitude and latitude")
        bounds = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        scale_x, scale_y = Projection(bounds).metres_per_degree
    else:
        scale_x = scale_y = 1.0
    pixel = (
        settings.resolution_m / scale_x,
        settings.resolution_m / scale_y * (1.0 if down else -1.0),
    )
    origin = settings.origin or (float(x.min()), float(y.min() if down else y.max()))
    shape = settings.shape
    if shape is None:
        last_row = (y.max() if down else y.min()) - origin[1]
        shape = (round(last_row / pixel[1]) + 1, round((x.max() - origin[0]) / pixel[0]) + 1)
    if not all(1 <= side <= MAX_GRID_SIDE for side in shape):
        raise InputError(
            f"{path}: the grid has {shape[0]} x {shape[1]} pixels of {settings.resolution_m:g} m; "
            f"allowed are sides of 1 .. {MAX_GRID_SIDE}; check the units and the resolution"
        )
    return Grid(origin, pixel, shape, settings.resolution_m, settings.coordinates)


def _std_within_pixels(path: Path, pixels: np.ndarray, values: np.ndarray) -> float:
    """Standard deviation of the measurements around the mean of their pixel, pooled over pixels."""
    _, pixel, count = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    pixel = pixel.reshape(-1)
    residual = values - (np.bincount(pixel, values) / count)[pixel]
    degrees = int((count - 1).sum())
    std = float(np.sqrt((residual**2).sum() / degrees)) if degrees else 0.0
    if std <= 0:
        raise InputError(
            f"{path}: the noise cannot be estimated, no pixel holds measurements that differ; set "
            "survey.noise_std_db"
        )
    return std
