"""The grid of a survey's map: where it lies, how large its pixels are, and in which system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from radiodiff.data import geodesy
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError

MAX_GRID_SIDE = 16_384
MAX_PIXELS = 500_000
"""Of a grid whose pixel size is found from the samples."""
MIN_LONG_SIDE = 100
"""Pixels that the longer side of such a grid has at least, so that a map can be looked at."""
PIXEL_SIZES = (1.0, 2.0, 5.0)
"""Mantissas of the pixel sizes that are chosen from."""
MIN_SIDE_RATIO = 0.2
"""Samples whose extent is narrower than this share of its length are a track."""
TRACK_MARGIN = 0.1
"""Margin around a track, share of its length."""


@dataclass(frozen=True)
class Grid:
    """Pixels of a map: where row 0, column 0 is, how large they are, and where north is."""

    origin: tuple[float, float]
    """x and y of the centre of pixel (0, 0), in the survey's own coordinates."""
    pixel: tuple[float, float]
    """Signed change of x per column and of y per row, in the survey's own coordinates."""
    shape: tuple[int, int]
    resolution_m: float
    coordinates: Literal["metres", "degrees"]
    crs: str | None = None
    """Coordinate system of x and y; None is WGS84 for degrees, and a local one for metres."""

    def to_pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return fractional (row, column), (..., 2), of positions in the survey's coordinates."""
        rows, columns = (y - self.origin[1]) / self.pixel[1], (x - self.origin[0]) / self.pixel[0]
        return np.stack([rows, columns], axis=-1)

    def to_survey(self, pixels: np.ndarray) -> np.ndarray:
        """Return (x, y), (..., 2), of (row, column) positions; inverse of :meth:`to_pixels`."""
        x = self.origin[0] + self.pixel[0] * pixels[..., 1]
        y = self.origin[1] + self.pixel[1] * pixels[..., 0]
        return np.stack([x, y], axis=-1)

    def to_wgs84(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return longitudes and latitudes of positions in the survey's coordinates.

        Returns:
            Degrees of the shapes of ``x`` and ``y``; None where the system is not known.
        """
        if self.crs is None:
            return (x, y) if self.coordinates == "degrees" else None
        return geodesy.transform(x, y, self.crs, geodesy.WGS84)

    def to_metres(self, pixels: np.ndarray) -> np.ndarray:
        """Return metres east and north, (..., 2), of (row, column); pixel (0, 0) is the origin."""
        return np.stack([pixels[..., 1], -pixels[..., 0]], axis=-1) * self.resolution_m

    def from_metres(self, xy: np.ndarray) -> np.ndarray:
        """Return fractional (row, column), (..., 2); inverse of :meth:`to_metres`."""
        return np.stack([-xy[..., 1], xy[..., 0]], axis=-1) / self.resolution_m

    def pixel_metres(self) -> np.ndarray:
        """Return metres east and north of all pixel centres, (H, W, 2)."""
        return self.to_metres(np.moveaxis(np.indices(self.shape), 0, -1).astype(np.float64))


def make_grid(
    path: Path,
    x: np.ndarray,
    y: np.ndarray,
    scale: tuple[float, float],
    settings: SurveySettings,
    degrees: bool,
    crs: str | None,
) -> tuple[Grid, list[str]]:
    """Return the grid over samples, and what the user should know about it.

    Args:
        path: named in messages.
        x: (N,) eastings or longitudes.
        y: (N,) northings or latitudes.
        scale: metres per unit of x and y.
        settings: pixel size, margin, origin and shape if given.
        degrees: whether x and y are degrees.
        crs: their system.

    Raises:
        InputError: the grid would be too large, or all samples fall into one pixel.
    """
    notes = []
    width, height = float(np.ptp(x)) * scale[0], float(np.ptp(y)) * scale[1]
    margin = settings.margin_m
    if margin is None:
        margin = 0.0
        covers = settings.shape is None and settings.origin is None
        if covers and min(width, height) < MIN_SIDE_RATIO * max(width, height):
            margin = TRACK_MARGIN * max(width, height)
            notes.append(
                f"the samples lie along a track; the map reaches {margin:.3g} m beyond them "
                "(survey.margin_m)"
            )
    resolution = settings.resolution_m
    if resolution is None:
        metres = np.stack([x * scale[0], y * scale[1]], axis=1)
        resolution = pixel_size(metres, width + 2 * margin, height + 2 * margin)
        notes.append(
            f"the pixels are {resolution:g} m, after the spacing of the samples "
            "(survey.resolution_m)"
        )
    step = (resolution / scale[0], resolution / scale[1])
    down = settings.y_axis == "south"
    pixel = (step[0], step[1] if down else -step[1])
    border = round(margin / resolution)
    corner = (float(x.min()), float(y.min() if down else y.max()))
    origin = settings.origin or (corner[0] - border * pixel[0], corner[1] - border * pixel[1])
    shape = settings.shape
    if shape is None:
        last_row = (y.max() if down else y.min()) - origin[1]
        shape = (
            round(last_row / pixel[1]) + 1 + border,
            round((x.max() - origin[0]) / pixel[0]) + 1 + border,
        )
    if not all(1 <= side <= MAX_GRID_SIDE for side in shape):
        raise InputError(
            f"{path}: the grid has {shape[0]} x {shape[1]} pixels of {resolution:g} m; "
            f"allowed are sides of 1 .. {MAX_GRID_SIDE}; check the units and survey.resolution_m"
        )
    grid = Grid(origin, pixel, shape, resolution, "degrees" if degrees else "metres", crs)
    nearest = np.rint(grid.to_pixels(x, y))
    if len(np.unique(nearest, axis=0)) == 1:
        raise InputError(
            f"{path}: all {len(x)} samples fall into one pixel of {resolution:g} m; "
            "check the coordinates (metres or degrees) and survey.resolution_m"
        )
    return grid, notes


def pixel_size(xy: np.ndarray, width: float, height: float) -> float:
    """Return a pixel size of 1, 2 or 5 times a power of ten that follows the samples' spacing.

    It is the one next to the median distance between neighbours, but fine enough for a map that
    can be looked at, and coarse enough for its pixels to be few.

    Args:
        xy: (N, 2) metres.
        width: of the map in metres.
        height: of the map in metres.
    """
    places = np.unique(xy, axis=0)
    longer = max(width, height)
    if len(places) < 2 or longer <= 0:
        return 1.0
    spacing = float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))
    exponents = np.arange(-4, 6)
    sizes = np.sort(np.outer(10.0**exponents, PIXEL_SIZES).ravel())
    size = sizes[np.argmin(np.abs(np.log(sizes / min(spacing, longer / MIN_LONG_SIDE))))]
    for coarser in sizes[sizes >= size]:
        if (width / coarser + 1) * (height / coarser + 1) <= MAX_PIXELS:
            return float(coarser)
    return float(sizes[-1])
