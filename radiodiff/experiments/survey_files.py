"""What a survey's map is written to: GeoTIFF, KMZ, GeoJSON, CSV and a picture.

All functions take plain arrays on the survey's grid. Files that need an optional package are left
out without it, and that is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from radiodiff.data.surveys.grid import Grid
from radiodiff.data.surveys.samples import SurveySamples
from radiodiff.data.text_files import file_hash
from radiodiff.errors import InputError
from radiodiff.experiments.rasters import on_degrees, write_cog, write_overlays
from radiodiff.experiments.survey_figure import COLOUR_QUANTILES, draw_survey_map
from radiodiff.files import write_json, write_text
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
    places = grid.to_wgs84(x, y)
    if places is not None and grid.coordinates == "metres":
        columns["longitude"], columns["latitude"] = places
    digits = {"x": 8, "y": 8} if grid.coordinates == "degrees" else {"x": 3, "y": 3}
    digits |= {"longitude": 8, "latitude": 8}
    table = pd.DataFrame({name: np.round(v, digits[name]) for name, v in columns.items()})
    for name, (_, values) in result.layers().items():
        table[name] = np.round(values.reshape(-1).astype(np.float64), 3)
    write_text(path, table.to_csv(index=False))


def write_samples(path: Path, samples: SurveySamples, power_dbm: float | None) -> None:
    """Write the samples that the map was made from as GeoJSON points."""
    name = "gain_db" if power_dbm is None else "received_dbm"
    x, y = samples.position.T
    places = samples.grid.to_wgs84(x, y)
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
        places = grid.to_wgs84(x, y)
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

    Raises:
        InputError: the survey is in metres of no named system.
    """
    unit = "dB" if result.transmit_power_dbm is None else "dBm"
    received = result.gain_db + (result.transmit_power_dbm or 0.0)
    degrees, (values, trust) = on_degrees(grid, received, result.trust)
    low, high = (float(limit) for limit in np.nanquantile(values, COLOUR_QUANTILES))
    places = []
    if result.transmitter is not None:
        place = grid.to_wgs84(*grid.to_survey(result.transmitter))
        if place is not None:
            places.append(("transmitter", float(place[0]), float(place[1])))
    return write_overlays(
        path,
        degrees,
        {f"map, {low:.0f} to {high:.0f} {unit}": values},
        places,
        (low, high),
        MIN_TRUST_ALPHA + (1.0 - MIN_TRUST_ALPHA) * np.nan_to_num(trust),
    )


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
    content = ",\n".join(lines)
    write_text(path, f'{{{members}"features": [\n{content}\n]}}\n')
