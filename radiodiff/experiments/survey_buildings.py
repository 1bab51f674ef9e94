"""Known buildings of a survey: read from a mask or GeoJSON, put on the grid, compared with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from radiodiff.data import geodesy
from radiodiff.data.images import read_mask
from radiodiff.data.polygons import rasterise
from radiodiff.data.surveys.grid import Grid
from radiodiff.data.surveys.samples import MIN_EXTENT_M, SurveySamples
from radiodiff.errors import InputError
from radiodiff.simulate.geojson import Feature, convert_features, footprints, parse_features

MAX_INSIDE_SHARE = 0.5
"""Share of the samples inside known buildings above which the buildings are refused."""
MAX_BUILT_SHARE = 0.9
"""Share of the grid that buildings cover above which they are refused."""


def read_buildings(path: Path, grid: Grid) -> tuple[np.ndarray, list[str]]:
    """Read known buildings onto a grid.

    Args:
        path: PNG mask of the grid's shape, or GeoJSON in longitude and latitude, in the system
            that it names, or in the survey's own coordinates.
        grid: of the map.

    Returns:
        (H, W) bool, and what the user should know, sentences.

    Raises:
        InputError: the file cannot be read, does not fit the grid, or its system is not known.
    """
    if path.suffix.lower() == ".png":
        return read_mask(path, grid.shape), []
    features, crs = parse_features(path)
    placed, taken = _convert(path, features, crs, grid)
    areas, notes = footprints(placed)
    polygons = []
    for geometry in areas:
        pixels = shapely.transform(geometry, lambda p: grid.to_pixels(p[:, 0], p[:, 1])[:, ::-1])
        polygons += [part for part in shapely.get_parts(pixels) if part.geom_type == "Polygon"]
    mask = rasterise(polygons, grid.shape)
    if not mask.any():
        said = f"; {'; '.join(notes)}" if notes else ""
        (west, south), (east, north) = _corners(grid)
        there = ", ".join(f"{v:.7g}" for v in shapely.total_bounds(areas)) if areas else "none"
        raise InputError(
            f"{path}: no building lies on the survey's grid: west, south, east, north are {there} "
            f"for buildings, {west:.7g}, {south:.7g}, {east:.7g}, {north:.7g} for the grid{said}"
        )
    return mask, [*taken, *notes]


def check_samples_outside(path: Path, mask: np.ndarray, samples: SurveySamples) -> list[str]:
    """Compare known buildings with the samples, which are taken outdoors where buildings are known.

    Args:
        path: of the buildings, named in messages.
        mask: (H, W) bool.
        samples: of the survey.

    Returns:
        What the user should know: how many samples lie inside.

    Raises:
        InputError: most samples lie inside, or buildings fill the grid; they do not fit together.
    """
    rows, columns = np.rint(samples.grid.to_pixels(*samples.position.T)).astype(int).T
    on_grid = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    inside = int(mask[rows[on_grid], columns[on_grid]].sum())
    share, built = inside / len(samples), float(mask.mean())
    if share > MAX_INSIDE_SHARE or built > MAX_BUILT_SHARE:
        raise InputError(
            f"{path}: {inside} of {len(samples)} samples lie inside of these buildings, which "
            f"cover {100 * built:.0f} % of the map; check their coordinate system and tags, or "
            "leave buildings out where the survey is indoors"
        )
    if not inside:
        return []
    return [
        f"{inside} of {len(samples)} samples ({100 * share:.0f} %) lie inside of known buildings, "
        "where the map shows the buildings; positions or outlines may be some metres off"
    ]


def _convert(
    path: Path, features: list[Feature], crs: str | None, grid: Grid
) -> tuple[list[Feature], list[str]]:
    """Return features in the coordinates of the grid, and what was taken for granted."""
    if not features:
        raise InputError(f"{path}: holds no feature")
    west, south, east, north = shapely.total_bounds([f.geometry for f in features])
    degrees = crs is None and min(west + 180, 180 - east, south + 90, 90 - north) >= 0
    if grid.crs is None and grid.coordinates == "metres":
        # Of numbers in the range of degrees, those that reach over some metres are metres.
        degrees = degrees and max(east - west, north - south) < MIN_EXTENT_M
        if crs is None and not degrees and _overlap((west, south, east, north), grid):
            return features, []
        zone = geodesy.utm_zone((west + east) / 2, (south + north) / 2) if degrees else crs
        if zone is not None and geodesy.guess_utm(*_corners(grid).T):
            converted = convert_features(features, crs or geodesy.WGS84, zone)
            if _overlap(tuple(shapely.total_bounds([f.geometry for f in converted])), grid):
                return converted, [f"the survey is taken to be in {zone}; name it with survey.crs"]
        raise InputError(
            f"{path}: the buildings are in {crs or ('degrees' if degrees else 'metres')}, "
            "the survey is in metres of no named system; name it with survey.crs, such as "
            f"EPSG:32632, or give a PNG of {grid.shape[0]} x {grid.shape[1]}"
        )
    target = grid.crs or geodesy.WGS84
    source = crs or (geodesy.WGS84 if degrees else grid.crs)
    if source is None:
        raise InputError(
            f"{path}: coordinates from ({west:.6g}, {south:.6g}) to ({east:.6g}, {north:.6g}) are "
            "no longitudes and latitudes, and the file names no coordinate system; convert it "
            f"first (ogr2ogr -t_srs EPSG:4326 out.geojson {path.name})"
        )
    return (features if source == target else convert_features(features, source, target)), []


def _corners(grid: Grid) -> np.ndarray:
    """Return x and y of the grid's first and last pixel, (2, 2), smaller ones first."""
    pixels = np.array([[0, 0], [grid.shape[0] - 1, grid.shape[1] - 1]])
    return np.sort(grid.to_survey(pixels), axis=0)


def _overlap(bounds: tuple[float, ...], grid: Grid) -> bool:
    west, south, east, north = bounds
    (low_x, low_y), (high_x, high_y) = _corners(grid)
    return bool(west <= high_x and east >= low_x and south <= high_y and north >= low_y)
