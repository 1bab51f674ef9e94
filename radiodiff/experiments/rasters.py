"""Layers of pixels as files that maps programs open: GeoTIFF and KMZ."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from radiodiff.data import geodesy
from radiodiff.data.surveys.grid import Grid
from radiodiff.evaluation.figures import GAIN_COLOURS
from radiodiff.files import replacing


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
) -> bool:
    """Write layers as ground overlays of a KMZ file, if simplekml is installed.

    Args:
        path: the file.
        grid: in degrees, row 0 in the north.
        layers: name -> (H, W) values; NaN is transparent. The first is shown, the rest can be.
        places: name, longitude and latitude of points.
        limits: values of the first and the last colour.

    Returns:
        Whether the file was written.
    """
    if importlib.util.find_spec("simplekml") is None:
        return False
    import simplekml

    kml = simplekml.Kml(name=path.stem)
    (x, y), (dx, dy), (rows, columns) = grid.origin, grid.pixel, grid.shape
    for number, (name, values) in enumerate(layers.items()):
        scaled = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0.0, 1.0)
        colours = colormaps[GAIN_COLOURS](scaled)
        colours[..., 3] = np.where(np.isfinite(values), 0.8, 0.0)
        stream = io.BytesIO()
        Image.fromarray((255 * colours).astype(np.uint8)).save(stream, format="PNG")
        overlay = kml.newgroundoverlay(name=name, visibility=int(number == 0))
        picture = path.with_name(f"{path.stem}.{number}.partial.png")
        picture.write_bytes(stream.getvalue())
        overlay.icon.href = kml.addfile(str(picture))
        overlay.latlonbox.west, overlay.latlonbox.east = x - dx / 2, x + (columns - 0.5) * dx
        overlay.latlonbox.north, overlay.latlonbox.south = y - dy / 2, y + (rows - 0.5) * dy
    for name, longitude, latitude in places:
        kml.newpoint(name=name, coords=[(longitude, latitude)])
    with replacing(path) as temporary:
        kml.savekmz(str(temporary))
    for number in range(len(layers)):
        path.with_name(f"{path.stem}.{number}.partial.png").unlink()
    return True
