"""What a survey's map is written to: GeoTIFF, KMZ, GeoJSON, CSV and a picture.

All functions take plain arrays on the survey's grid. Files that need an optional package are left
out without it, and that is said.
"""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from matplotlib import colormaps
from PIL import Image

from radiodiff.data import geodesy
from radiodiff.data.surveys.grid import Grid
from radiodiff.data.surveys.samples import SurveySamples
from radiodiff.data.text_files import file_hash
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import GAIN_COLOURS
from radiodiff.experiments.rasters import write_cog
from radiodiff.experiments.survey_figure import COLOUR_QUANTILES, draw_survey_map
from radiodiff.files import write_json
from radiodiff.inverse.sensing import outlines

SOURCES = "source.json"
"""File of a result that names what it was made from."""
MIN_TRUST_ALPHA = 0.15
"""Opacity of the ground overlay where no sample says anything."""


@dataclass(frozen=True)
class SurveyMap:
    """A reconstructed map on the grid of its survey, as arrays of (H, W).

    Attributes:
        gain_db: path gain in dB, expected over all outlines of buildings.
        outdoor_gain_db: path gain in dB that a receiver outdoors would see.
        std_db: standard deviation of the map in dB.
        trust: in [0, 1], 1 where samples determine the map and 0 where it is a trend.
        building_mask: bool.
        transmitter: (2,) row and column, or None.
        transmit_power_dbm: the power that path gain is relative to; None if the survey holds
            path gain.
        power_is_known: whether that power was given, or taken so that there is a path gain.
    """

    gain_db: np.ndarray
    outdoor_gain_db: np.ndarray
    std_db: np.ndarray
    trust: np.ndarray
    building_mask: np.ndarray
    transmitter: np.ndarray | None
    transmit_power_dbm: float | None
    power_is_known: bool

    def layers(self) -> dict[str, tuple[str, np.ndarray]]:
        """Return what is written of each pixel: column name -> description and values."""
        taken = (
            ""
            if self.power_is_known or self.transmit_power_dbm is None
            else f", taking {self.transmit_power_dbm:g} dBm as transmit power"
        )
        found = {
            "outdoor_gain_db": (f"outdoor path gain in dB{taken}", self.outdoor_gain_db),
            "gain_db": (f"mean path gain in dB{taken}", self.gain_db),
            "std_db": ("standard deviation in dB", self.std_db),
            "trust": ("trust: 1 where samples determine the map, 0 where a trend", self.trust),
        }
        if self.transmit_power_dbm is not None:
            power = self.transmit_power_dbm
            found["outdoor_received_dbm"] = (
                "outdoor received power in dBm",
                self.outdoor_gain_db + power,
            )
            found["received_dbm"] = ("mean received power in dBm", self.gain_db + power)
        return found


def claim_directory(directory: Path, sources: dict[str, Path | None]) -> dict[str, Any]:
    """Note in a run directory what its result is made from, unless it holds another result.

    Args:
        directory: made if it is not there.
        sources: name ("measurements", "buildings", ...) -> file, or None.

    Returns:
        Name -> path and SHA-256.

    Raises:
        InputError: a file cannot be read, or the directory holds a result of other files.
    """
    wanted = {
        name: {"path": str(path), "sha256": file_hash(path)}
        for name, path in sources.items()
        if path is not None
    }
    record = directory / SOURCES
    if record.is_file():
        found = json.loads(record.read_text(encoding="utf-8"))
        for name in sorted(found.keys() | wanted.keys()):
            there, here = found.get(name, {}), wanted.get(name, {})
            if there.get("sha256") != here.get("sha256"):
                raise InputError(
                    f"{directory}: holds the result of another survey ({name}: "
                    f"{there.get('path', 'none')}, now {here.get('path', 'none')}); choose another "
                    "output directory or remove this one"
                )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(record, wanted)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror})") from None
    return wanted


def distance_trust(grid: Grid, distance_m: np.ndarray, spacing_m: float) -> np.ndarray:
    """Return a trust that falls with the distance to the nearest sample.

    Args:
        grid: of the map.
        distance_m: (H, W) metres to the nearest sample.
        spacing_m: median distance between neighbouring samples.

    Returns:
        (H, W) in [0, 1]: 1 at a sample, 1/2 at four spacings, or eight pixels if these are wider.
    """
    half = max(4.0 * spacing_m, 8.0 * grid.resolution_m)
    return 1.0 / (1.0 + (distance_m / half) ** 2)


def write_survey_files(directory: Path, samples: SurveySamples, result: SurveyMap) -> list[str]:
    """Write map.tif, map.kmz, map.csv, map.png, samples.geojson and buildings.geojson.

    Returns:
        Which files are left out and why, sentences.
    """
    grid, power = samples.grid, result.transmit_power_dbm
    notes = []
    write_grid_csv(directory / "map.csv", grid, result)
    write_samples(directory / "samples.geojson", samples, power)
    write_outlines(directory / "buildings.geojson", result.building_mask, grid)
    if not write_geotiff(directory / "map.tif", grid, result):
        notes.append("map.tif is left out: it needs rasterio (pip install 'radiodiff[geo]')")
    if grid.coordinates == "metres" and grid.crs is None:
        notes.append("map.kmz is left out: the survey is in metres of no named system (survey.crs)")
    elif not write_kmz(directory / "map.kmz", grid, result):
        notes.append("map.kmz is left out: it needs simplekml (pip install 'radiodiff[geo]')")
    draw_survey_map(
        directory / "map.png",
        grid,
        result.gain_db + (power or 0.0),
        result.std_db,
        result.trust,
        position=samples.position,
        values=samples.values,
        quantity="path gain in dB" if power is None else "received power in dBm",
        transmitter=result.transmitter,
    )
    return notes


def write_geotiff(path: Path, grid: Grid, result: SurveyMap) -> bool:
    """Write a cloud-optimised GeoTIFF, one band per layer, if rasterio is installed.

    Returns:
        Whether the file was written.
    """
    return write_cog(path, grid, dict(result.layers().values()))


def write_grid_csv(path: Path, grid: Grid, result: SurveyMap) -> None:
    """Write one row per pixel: x, y, longitude and latitude if known, and all layers."""
    pixels = np.indices(grid.shape).reshape(2, -1).T
    x, y = grid.to_survey(pixels).T
    columns = {"x": x, "y": y}
    places = _to_wgs84(grid, x, y)
    if places is not None and grid.coordinates == "metres":
        columns["longitude"], columns["latitude"] = places
    digits = {"x": 8, "y": 8} if grid.coordinates == "degrees" else {"x": 3, "y": 3}
    digits |= {"longitude": 8, "latitude": 8}
    table = pd.DataFrame({name: np.round(v, digits[name]) for name, v in columns.items()})
    for name, (_, values) in result.layers().items():
        table[name] = np.round(values.reshape(-1).astype(np.float64), 3)
    temporary = path.with_name(path.name + ".partial")
    table.to_csv(temporary, index=False)
    temporary.replace(path)


def write_samples(path: Path, samples: SurveySamples, power_dbm: float | None) -> None:
    """Write the samples that the map was made from as GeoJSON points."""
    name = "gain_db" if power_dbm is None else "received_dbm"
    x, y = samples.position.T
    places = _to_wgs84(samples.grid, x, y)
    points = shapely.points(*(places if places is not None else (x, y)))
    _write_features(
        path,
        samples.grid,
        [
            (point, {name: round(float(value), 3)})
            for point, value in zip(points, samples.values, strict=True)
        ],
    )


def write_outlines(path: Path, mask: np.ndarray, grid: Grid) -> None:
    """Write the outlines of a mask, (H, W) bool, as GeoJSON.

    They are in longitude and latitude, or in the survey's own metres if its system is not known.
    """

    def place(pixels: np.ndarray) -> np.ndarray:
        x, y = grid.to_survey(pixels[:, ::-1]).T
        places = _to_wgs84(grid, x, y)
        return np.stack(places if places is not None else (x, y), axis=1)

    _write_features(
        path,
        grid,
        [
            (
                shapely.transform(polygon, place),
                {"building": "yes", "area_m2": round(polygon.area * grid.resolution_m**2, 1)},
            )
            for polygon in outlines(mask)
        ],
    )


def write_kmz(path: Path, grid: Grid, result: SurveyMap) -> bool:
    """Write the map as a ground overlay in longitude and latitude, if simplekml is installed.

    The overlay is transparent where samples say little.

    Returns:
        Whether the file was written.
    """
    if importlib.util.find_spec("simplekml") is None:
        return False
    import simplekml

    values, trust, bounds = _on_degrees(grid, result)
    west, south, east, north = bounds
    low, high = np.nanquantile(values, COLOUR_QUANTILES)
    colours = colormaps[GAIN_COLOURS](np.clip((values - low) / max(high - low, 1e-6), 0, 1))
    colours[..., 3] = np.where(
        np.isfinite(values), MIN_TRUST_ALPHA + (1 - MIN_TRUST_ALPHA) * np.nan_to_num(trust), 0.0
    )
    picture = path.with_name("overlay.partial.png")
    stream = io.BytesIO()
    Image.fromarray((255 * colours).astype(np.uint8)).save(stream, format="PNG")
    picture.write_bytes(stream.getvalue())
    kml = simplekml.Kml(name="radio map")
    unit = "dB" if result.transmit_power_dbm is None else "dBm"
    overlay = kml.newgroundoverlay(name=f"map, {low:.0f} to {high:.0f} {unit}")
    overlay.icon.href = kml.addfile(str(picture))
    overlay.latlonbox.west, overlay.latlonbox.east = west, east
    overlay.latlonbox.south, overlay.latlonbox.north = south, north
    if result.transmitter is not None:
        x, y = grid.to_survey(result.transmitter)
        places = _to_wgs84(grid, np.array([x]), np.array([y]))
        if places is not None:
            kml.newpoint(name="transmitter", coords=[(float(places[0][0]), float(places[1][0]))])
    temporary = path.with_name(path.stem + ".partial.kmz")
    kml.savekmz(str(temporary))
    picture.unlink()
    temporary.replace(path)
    return True


def _on_degrees(
    grid: Grid, result: SurveyMap
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]:
    """Resample the map and its trust to rows of latitude; return them with west, south, ..."""
    rows, columns = grid.shape
    edge = np.array([[-0.5, -0.5], [-0.5, columns - 0.5], [rows - 0.5, -0.5]])
    corners = np.concatenate([edge, [[rows - 0.5, columns - 0.5]]])
    longitude, latitude = _require_wgs84(grid, *grid.to_survey(corners).T)
    west, east, south, north = longitude.min(), longitude.max(), latitude.min(), latitude.max()
    lon = west + (np.arange(columns) + 0.5) / columns * (east - west)
    lat = north - (np.arange(rows) + 0.5) / rows * (north - south)
    lon_grid, lat_grid = (a.reshape(-1) for a in np.meshgrid(lon, lat))
    target = grid.crs or geodesy.WGS84
    x, y = geodesy.transform(lon_grid, lat_grid, geodesy.WGS84, target)
    nearest = np.rint(grid.to_pixels(x, y)).astype(np.int64)
    on_grid = ((nearest >= 0) & (nearest < grid.shape)).all(axis=1)
    row, column = np.clip(nearest, 0, np.array(grid.shape) - 1).T
    received = result.gain_db + (result.transmit_power_dbm or 0.0)
    values, trust = (
        np.where(on_grid, layer[row, column], np.nan).reshape(rows, columns)
        for layer in (received, result.trust)
    )
    return values, trust, (float(west), float(south), float(east), float(north))


def _to_wgs84(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return longitudes and latitudes, or None where the system of a grid is not known."""
    if grid.crs is None:
        return (x, y) if grid.coordinates == "degrees" else None
    return geodesy.transform(x, y, grid.crs, geodesy.WGS84)


def _require_wgs84(grid: Grid, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = _to_wgs84(grid, x, y)
    if places is None:
        raise InputError("the survey is in metres of no named system; name it with survey.crs")
    return places


def _write_features(path: Path, grid: Grid, features: list[tuple[Any, dict[str, Any]]]) -> None:
    """Write geometries with properties, one feature a line."""
    members = '"type": "FeatureCollection", '
    if grid.coordinates == "metres" and grid.crs is None:
        members += '"coordinate_system": "metres of the survey, which names no system", '
    texts = shapely.to_geojson([geometry for geometry, _ in features])
    lines = [
        f'{{"type": "Feature", "geometry": {text}, "properties": {json.dumps(properties)}}}'
        for text, (_, properties) in zip(texts, features, strict=True)
    ]
    temporary = path.with_name(path.name + ".partial")
    content = ",\n".join(lines)
    temporary.write_text(f'{{{members}"features": [\n{content}\n]}}\n', encoding="utf-8")
    temporary.replace(path)
