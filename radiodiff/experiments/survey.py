"""From a survey's CSV to a radio map: picture, arrays, GeoTIFF, building outlines and a
measurement.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import Field

from radiodiff.cli import open_run_directory, provenance, write_json
from radiodiff.data.images import read_mask
from radiodiff.data.survey import Grid, Survey, SurveySettings, read_survey
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import save_figure
from radiodiff.experiments.inverse_benchmark import SamplerSettings, load_pipeline
from radiodiff.inverse.interpolation import kriging
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.sensing import outlines, truncation_floor
from radiodiff.simulate.geojson import footprints, read_features
from radiodiff.simulate.polygons import rasterise
from radiodiff.units import model_std_to_db, model_to_db

QUANTILES = (0.05, 0.5, 0.95)


class SurveyConfig(SamplerSettings):
    """Reconstruction of one map from a survey."""

    output: Path
    """Run directory: config.yaml, map.png, map.npz, map.tif, buildings.geojson, report.json."""
    survey: SurveySettings = SurveySettings()
    """How the CSV is read, and the grid."""
    buildings: Path | None = None
    """Known buildings: a PNG of 0 and 255 on the grid, or GeoJSON in longitude and latitude."""
    tile_overlap: int = Field(default=64, ge=1)
    """Overlap of tiles where the grid is larger than the prior's maps, pixels."""
    seed: int = Field(default=0, ge=0)
    """Of the particles."""


def reconstruct_survey(measurements: Path, config: SurveyConfig) -> dict[str, Any]:
    """Reconstruct the map behind a CSV and write everything into the run directory.

    Returns:
        What ``report.json`` holds.

    Raises:
        InputError: the CSV, the buildings, the prior or the output cannot be used.
    """
    survey = read_survey(measurements, config.survey)
    buildings = read_buildings(config.buildings, survey.grid) if config.buildings else None
    pipeline = load_pipeline(config.prior, config.device, config.dtype)
    directory = open_run_directory(config.output, config)
    pipeline.set_progress_bar_config(disable=False)
    began = time.perf_counter()
    output = pipeline(
        survey.measurements,
        buildings=None if buildings is None else torch.from_numpy(buildings)[None, None],
        num_particles=config.num_particles,
        num_inference_steps=config.num_inference_steps,
        generator=torch.Generator(config.device).manual_seed(config.seed),
        sampler=config.sampler,
        refinement=config.refinement,
        shadow_threshold=config.shadow_threshold,
        batch_limit=config.batch_limit,
        tile_overlap=config.tile_overlap,
    )
    seconds = time.perf_counter() - began
    gain_db = model_to_db(output.mean[0, 0].float().cpu().numpy().astype(np.float64))
    std_db = model_std_to_db(output.std[0, 0].float().cpu().numpy().astype(np.float64))
    quantiles: dict[str, Any] = {
        f"gain_db_q{round(100 * p):02d}": model_to_db(
            output.quantile(p)[0, 0].float().cpu().numpy()
        )
        for p in QUANTILES
    }
    outdoor_db = model_to_db(output.outdoor_mean()[0, 0].float().cpu().numpy())
    shadows = output.building_mask[0, 0].cpu().numpy()
    np.savez_compressed(
        directory / "map.npz",
        gain_db=gain_db.astype(np.float32),
        outdoor_gain_db=outdoor_db.astype(np.float32),
        std_db=std_db.astype(np.float32),
        building_mask=shadows,
        building_probability=output.building_probability[0, 0].float().cpu().numpy(),
        sample_pixels=survey.pixels,
        sample_gain_db=survey.gain_db,
        **quantiles,
    )
    draw_map(survey, gain_db, std_db, output.transmitter[0].numpy(), directory / "map.png")
    write_outlines(directory / "buildings.geojson", shadows, survey.grid)
    write_geotiff(directory / "map.tif", gain_db, std_db, survey.grid)
    report = _report(survey, output, config, seconds)
    write_json(directory / "report.json", report)
    return report


def read_buildings(path: Path, grid: Grid) -> np.ndarray:
    """Read known buildings onto the grid.

    Args:
        path: PNG mask of the grid's shape, or GeoJSON in longitude and latitude.
        grid: the grid; GeoJSON needs one in degrees.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the file cannot be read or does not fit the grid.
    """
    if path.suffix.lower() == ".png":
        return read_mask(path, grid.shape)
    if grid.coordinates != "degrees":
        raise InputError(
            f"{path}: GeoJSON buildings are in degrees, the survey is in metres; give a PNG of "
            f"{grid.shape[0]} x {grid.shape[1]} instead"
        )
    polygons = []
    for geometry in footprints(read_features(path)):
        pixels = shapely.transform(geometry, lambda p: grid.to_pixels(p[:, 0], p[:, 1])[:, ::-1])
        polygons += [part for part in shapely.get_parts(pixels) if part.geom_type == "Polygon"]
    mask = rasterise(polygons, grid.shape)
    if not mask.any():
        raise InputError(f"{path}: no building lies on the survey's grid")
    return mask


def draw_map(
    survey: Survey, gain_db: np.ndarray, std_db: np.ndarray, transmitter: np.ndarray, path: Path
) -> None:
    """Draw the map with the samples on it, and its standard deviation, with colour bars in dB."""
    rows, columns = gain_db.shape
    figure = Figure(figsize=(11, 1.2 + 4.4 * rows / columns), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    image = left.imshow(gain_db, cmap="viridis")
    left.scatter(
        survey.pixels[:, 1],
        survey.pixels[:, 0],
        c=survey.gain_db,
        norm=image.norm,
        cmap="viridis",
        s=max(0.3, min(12.0, 4e3 / len(survey.pixels))),
        edgecolors="white",
        linewidths=0.1,
    )
    left.plot(transmitter[1], transmitter[0], "r+", markersize=12)
    left.set_title(f"path gain, {len(survey.pixels)} samples")
    figure.colorbar(image, ax=left, label="dB", shrink=0.8)
    spread = right.imshow(std_db, cmap="magma")
    right.set_title("standard deviation")
    figure.colorbar(spread, ax=right, label="dB", shrink=0.8)
    for axes in (left, right):
        axes.set_xlabel(f"column ({survey.grid.resolution_m:g} m)")
    left.set_ylabel("row")
    save_figure(figure, path)


def write_outlines(path: Path, mask: np.ndarray, grid: Grid) -> None:
    """Write the outlines of a mask as GeoJSON in the survey's own coordinates."""
    features = []
    for polygon in outlines(mask):
        placed = shapely.transform(polygon, lambda p: grid.to_survey(p[:, ::-1]))
        area = polygon.area * grid.resolution_m**2
        features.append(
            {
                "type": "Feature",
                "geometry": json.loads(shapely.to_geojson(placed)),
                "properties": {"building": "yes", "area_m2": round(area, 1)},
            }
        )
    write_json(path, {"type": "FeatureCollection", "features": features})


def write_geotiff(path: Path, gain_db: np.ndarray, std_db: np.ndarray, grid: Grid) -> bool:
    """Write gain and standard deviation as two bands, if rasterio (extra ``geo``) is installed.

    Returns:
        Whether the file was written.
    """
    try:
        import rasterio
        from rasterio.transform import Affine
    except ImportError:
        return False
    (x, y), (dx, dy) = grid.origin, grid.pixel
    temporary = path.with_name(path.stem + ".partial.tif")
    with rasterio.open(
        temporary,
        "w",
        driver="GTiff",
        height=grid.shape[0],
        width=grid.shape[1],
        count=2,
        dtype="float32",
        crs="EPSG:4326" if grid.coordinates == "degrees" else None,
        transform=Affine(dx, 0.0, x - dx / 2, 0.0, dy, y - dy / 2),
    ) as file:
        file.write(gain_db.astype(np.float32), 1)
        file.write(std_db.astype(np.float32), 2)
        file.set_band_description(1, "path gain in dB")
        file.set_band_description(2, "standard deviation in dB")
    temporary.replace(path)
    return True


def _report(
    survey: Survey, output: InverseOutput, config: SurveyConfig, seconds: float
) -> dict[str, Any]:
    position, std = output.transmitter[0].numpy(), output.transmitter_std[0].numpy()
    mean = output.mean[0, 0].float().cpu().numpy()
    floor = truncation_floor(mean)
    mask = survey.measurements.mask[0, 0].numpy()
    values = survey.measurements.values[0, 0].numpy()
    apart = model_to_db(mean.astype(np.float64)) - model_to_db(kriging(values, mask))
    return {
        "samples": len(survey.gain_db),
        "cells_observed": int(mask.sum()),
        "shape": list(survey.grid.shape),
        "resolution_m": survey.grid.resolution_m,
        "origin": list(survey.grid.origin),
        "sample_noise_db": float(np.median(survey.noise_std_db)),
        "median_std_db": float(np.median(model_std_to_db(output.std[0, 0].float().cpu().numpy()))),
        "rms_difference_to_kriging_db": float(np.sqrt(np.mean(apart**2))),
        "transmitter": {
            "row_column": position.tolist(),
            "x_y": survey.grid.to_survey(position).tolist(),
            "std_m": (std * survey.grid.resolution_m).tolist(),
        },
        "truncation_floor_db": model_to_db(floor.level),
        "shadow_threshold_db": model_to_db(float(output.shadow_threshold[0])),
        "building_share": float(output.building_mask[0].float().mean()),
        "seconds": seconds,
        "provenance": provenance(config, config.device),
    }
