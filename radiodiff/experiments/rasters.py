"""Layers of pixels as files that maps programs open: GeoTIFF and KMZ."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from radiodiff.data import geodesy
from radiodiff.data.surveys.grid import Grid
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import GAIN_COLOURS
from radiodiff.files import replacing

OPACITY = 0.8
"""Of an overlay, so that streets are seen through it."""


def write_cog(path: Path, grid: Grid, layers: Mapping[str, np.ndarray]) -> bool:
    """Write a cloud-optimised GeoTIFF of float32, one band per layer, if rasterio is installed.

    Args:
        path: the file.
        grid: where the layers lie.
        layers: description of a band -> (H, W) values; NaN is no data.

    Returns:
        Whether the file was written.
    """
    if importlib.util.find_spec("rasterio") is None:
        return False
    import rasterio.shutil
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine

    (x, y), (dx, dy) = grid.origin, grid.pixel
    with MemoryFile() as memory, replacing(path) as temporary:
        with memory.open(
            driver="GTiff",
            height=grid.shape[0],
            width=grid.shape[1],
            count=len(layers),
            dtype="float32",
            nodata=float("nan"),
            crs=geodesy.WGS84 if grid.coordinates == "degrees" and not grid.crs else grid.crs,
            transform=Affine(dx, 0.0, x - dx / 2, 0.0, dy, y - dy / 2),
        ) as file:
            for band, (description, values) in enumerate(layers.items(), start=1):
                file.write(values.astype(np.float32), band)
                file.set_band_description(band, description)
        with memory.open() as file:
            rasterio.shutil.copy(file, temporary, driver="COG", compress="deflate")
    return True


def write_overlays(
    path: Path,
    grid: Grid,
    layers: Mapping[str, np.ndarray],
    places: Sequence[tuple[str, float, float]],
    limits: tuple[float, float],
    opacity: float | np.ndarray = OPACITY,
) -> bool:
    """Write layers as ground overlays of a KMZ file, if simplekml is installed.

    Args:
        path: the file.
        grid: in degrees, row 0 in the north.
        layers: name -> (H, W) values; NaN is transparent. The first is shown, the rest can be.
        places: name, longitude and latitude of points.
        limits: values of the first and the last colour.
        opacity: in [0, 1], one for all or (H, W).

    Returns:
        Whether the file was written.
    """
    if importlib.util.find_spec("simplekml") is None:
        return False
    import simplekml

    kml = simplekml.Kml(name="radio map")
    (x, y), (dx, dy), (rows, columns) = grid.origin, grid.pixel, grid.shape
    low, high = limits
    with tempfile.TemporaryDirectory() as folder, replacing(path) as temporary:
        for number, (name, values) in enumerate(layers.items()):
            scaled = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)
            colours = colormaps[GAIN_COLOURS](scaled)
            colours[..., 3] = np.where(np.isfinite(values), opacity, 0.0)
            picture = Path(folder) / f"{path.stem}.{number}.png"
            Image.fromarray((255 * colours).astype(np.uint8)).save(picture)
            overlay = kml.newgroundoverlay(name=name, visibility=int(number == 0))
            overlay.icon.href = kml.addfile(str(picture))
            overlay.latlonbox.west, overlay.latlonbox.east = x - dx / 2, x + (columns - 0.5) * dx
            overlay.latlonbox.north, overlay.latlonbox.south = y - dy / 2, y + (rows - 0.5) * dy
        for name, longitude, latitude in places:
            kml.newpoint(name=name, coords=[(longitude, latitude)])
        kml.savekmz(str(temporary))
    return True


def on_degrees(grid: Grid, *layers: np.ndarray) -> tuple[Grid, tuple[np.ndarray, ...]]:
    """Resample layers (H, W) to a grid in longitude and latitude, row 0 in the north.

    Returns:
        That grid, of as many pixels, and the layers on it: of the nearest pixel, NaN outside.

    Raises:
        InputError: the grid is in metres of no named system.
    """
    rows, columns = grid.shape
    edge = np.array([[-0.5, -0.5], [-0.5, columns - 0.5], [rows - 0.5, -0.5]])
    corners = grid.to_survey(np.concatenate([edge, [[rows - 0.5, columns - 0.5]]]))
    places = grid.to_wgs84(*corners.T)
    if places is None:
        raise InputError("the survey is in metres of no named system; name it with survey.crs")
    longitude, latitude = places
    west, north = float(longitude.min()), float(latitude.max())
    dx, dy = float(np.ptp(longitude)) / columns, float(np.ptp(latitude)) / rows
    degrees = Grid(
        (west + dx / 2, north - dy / 2), (dx, -dy), grid.shape, grid.resolution_m, "degrees"
    )
    target = degrees.to_survey(np.indices(grid.shape).reshape(2, -1).T)
    x, y = geodesy.transform(target[:, 0], target[:, 1], geodesy.WGS84, grid.crs or geodesy.WGS84)
    nearest = np.rint(grid.to_pixels(x, y)).astype(np.int64)
    on_grid = ((nearest >= 0) & (nearest < grid.shape)).all(axis=1)
    row, column = np.clip(nearest, 0, np.array(grid.shape) - 1).T
    return degrees, tuple(
        np.where(on_grid, layer[row, column], np.nan).reshape(grid.shape) for layer in layers
    )
