"""The shipped weights at work: a city that no training saw, and a survey of it from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from radiodiff.cli import open_run_directory, provenance
from radiodiff.config import load_config
from radiodiff.data.measurements import Measurements, observe_map, stack_measurements
from radiodiff.data.survey import read_survey
from radiodiff.data.surveys.grid import Grid
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation.figures import comparison_figure, save_figure
from radiodiff.evaluation.metrics import iou
from radiodiff.evaluation.predictions import score_maps
from radiodiff.evaluation.settings import MetricConfig
from radiodiff.evaluation.tables import markdown_table, mean_values
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.experiments.settings import DemoConfig
from radiodiff.experiments.survey import reconstruct_survey
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.files import write_json, write_text
from radiodiff.inverse.interpolation import kriging, linear, nearest
from radiodiff.simulate import dominant_path
from radiodiff.simulate.city import City
from radiodiff.simulate.dataset import choose_transmitters
from radiodiff.simulate.geojson import Projection
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import RESOLUTION_M, db_to_gray, gray_to_model, model_to_db, model_to_gray

GENERATED = "RadioDiff"
MEASURED = "RadioDiff-Inverse"
CORNER = (8.4, 49.0)
"""Longitude and latitude that the survey gives to the city's south-western corner."""


def run_demo(config: DemoConfig) -> str:
    """Generate, reconstruct and survey; return what is to be read on the screen.

    Writes demo.png, table.md, results.json, survey.csv and the folder survey.

    Raises:
        InputError: weights or configurations cannot be read, or the output cannot be written.
    """
    output = open_run_directory(config.output, config)
    print("1/4  a city, and its radio maps by the dominant path model", flush=True)
    city = procedural_city(np.random.default_rng(config.city_seed))
    places = choose_transmitters(city, config.num_maps, np.random.default_rng(config.city_seed))
    gain_db = np.stack([dominant_path.path_gain(city, (int(r), int(c))) for r, c in places])
    truth = torch.from_numpy(db_to_gray(gain_db)).float()
    print("2/4  RadioDiff: from buildings and transmitter to the map", flush=True)
    pipeline = RadioDiffPipeline.from_pretrained(config.model).to(config.device)
    generated = pipeline(
        city.building_mask,
        places,
        num_inference_steps=config.sampling_steps,
        generator=torch.Generator().manual_seed(config.seed),
    ).gray.cpu()
    print("3/4  RadioDiff-Inverse: from scattered samples to the map", flush=True)
    samples, known = _measure(config, truth, city.building_mask)
    results = {
        GENERATED: generated,
        MEASURED: _reconstruct(config, samples, known),
        "nearest neighbour": _interpolate(nearest, samples),
        "linear interpolation": _interpolate(linear, samples),
    }
    print("4/4  RadioDiff-Inverse: the map behind a survey", flush=True)
    survey = _survey(config, output, city, places, gain_db[0])
    scores = {
        name: mean_values(score_maps(result, truth, MetricConfig()))
        for name, result in results.items()
    }
    seen = round(100 * (1 - config.measurements.missing_ratio))
    labels = {
        GENERATED: f"{GENERATED} (buildings and transmitter, no measurement)",
        MEASURED: f"{MEASURED} ({seen} % noisy pixels, nothing else)",
        "nearest neighbour": "nearest neighbour (the same pixels)",
        "linear interpolation": "linear interpolation (the same pixels)",
    }
    table = markdown_table({labels[name]: row for name, row in scores.items()})
    observed = samples.values.where(samples.mask, torch.nan)[:, 0]
    figure = comparison_figure(
        truth,
        {name: results[name] for name in (GENERATED, MEASURED, "linear interpolation")},
        buildings=torch.from_numpy(city.building_mask).expand_as(truth),
        transmitters=torch.from_numpy(places),
        inputs={f"{seen} % noisy samples": _gray(observed)},
        names=[f"transmitter {number + 1}" for number in range(len(places))],
    )
    save_figure(figure, output / "demo.png")
    write_text(output / "table.md", table)
    write_json(
        output / "results.json",
        {
            "data": f"a simulated city that no training saw, seed {config.city_seed}",
            "scores": scores,
            "survey": survey,
            "made_by": provenance(config, config.device),
        },
    )
    return (
        f"{table}\nsurvey of {config.survey.points} outdoor measurements: the whole map, buildings "
        f"included, within {survey['map_rmse_db']:.1f} dB (kriging "
        f"{survey['kriging_map_rmse_db']:.1f} dB), buildings with IoU "
        f"{survey['building_iou']:.2f}, transmitter within {survey['transmitter_error_m']:.1f} m; "
        f"{survey['held_out_rmse_db']:.2f} dB from {config.survey.held_out} measurements held out "
        f"(kriging {survey['kriging_held_out_rmse_db']:.2f} dB; the measurements' own noise is "
        f"{survey['noise_std_db']:g} dB)"
    )


def _measure(
    config: DemoConfig, truth: Tensor, buildings: np.ndarray
) -> tuple[Measurements, Tensor | None]:
    """Measure every map, and return the buildings where they are known."""
    layout = torch.from_numpy(buildings)[None]
    pairs = [
        observe_map(gain[None], layout, config.measurements, seed)
        for seed, gain in enumerate(gray_to_model(truth), start=config.seed)
    ]
    known = [one for _, one in pairs if one is not None]
    return stack_measurements([one for one, _ in pairs]), torch.cat(known) if known else None


def _reconstruct(config: DemoConfig, samples: Measurements, known: Tensor | None) -> Tensor:
    pipeline = load_pipeline(config.prior, config.device, config.dtype)
    pipeline.set_progress_bar_config(disable=True)
    output = pipeline(
        samples,
        buildings=known,
        num_particles=config.num_particles,
        num_inference_steps=config.num_inference_steps,
        generator=torch.Generator(config.device).manual_seed(config.seed),
        sampler=config.sampler,
        refinement=config.refinement,
        shadow_threshold=config.shadow_threshold,
        batch_limit=config.batch_limit,
    )
    return _gray(output.mean[:, 0].cpu())


def _interpolate(method: Callable[..., object], samples: Measurements) -> Tensor:
    maps = [
        torch.as_tensor(method(values[0].numpy(), mask[0].numpy()))
        for values, mask in zip(samples.values, samples.mask, strict=True)
    ]
    return _gray(torch.stack(maps))


def _gray(model: Tensor) -> Tensor:
    return model_to_gray(model.float()).clamp(0.0, 1.0)


def _survey(
    config: DemoConfig, output: Path, city: City, places: np.ndarray, gain_db: np.ndarray
) -> dict[str, float]:
    """Make measurements up on the map of the first place, reconstruct it, compare with further
    ones.
    """
    demo = config.survey
    survey_config = load_config(
        demo.config,
        SurveyConfig,
        [
            f"output={output / 'survey'}",
            "method=prior",
            f"prior={config.prior}",
            f"device={config.device}",
            f"survey.noise_std_db={demo.noise_std_db}",
            f"survey.transmit_power_dbm={demo.transmit_power_dbm}",
            f"survey.resolution_m={RESOLUTION_M}",
        ],
    )
    settings, noise_std_db = survey_config.survey, demo.noise_std_db
    # 1. Measurements at outdoor pixels, with noise, in the survey's own units.
    rng = np.random.default_rng(config.seed)
    outdoor = np.argwhere(~city.building_mask)
    chosen = rng.choice(len(outdoor), size=demo.points + demo.held_out, replace=False)
    rows, cols = outdoor[chosen].T
    measured = gain_db[rows, cols] + rng.normal(0.0, noise_std_db, len(chosen))
    longitude, latitude = _degrees(rows, cols, len(gain_db))
    file = output / "survey.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["longitude", "latitude", "rssi_dbm"])
        for number in range(demo.points):
            x, y = longitude[number], latitude[number]
            received = measured[number] + demo.transmit_power_dbm
            writer.writerow([f"{x:.8f}", f"{y:.8f}", f"{received:.2f}"])
    # 2. What the map and the measurements that were kept back say about the reconstruction.
    report = reconstruct_survey(file, survey_config)
    survey = read_survey(file, settings)
    with np.load(survey_config.output / "map.npz") as arrays:
        found = {name: arrays[name] for name in ("gain_db", "outdoor_gain_db", "building_mask")}
    observed = survey.measurements
    kriged = model_to_db(kriging(observed.values[0, 0].numpy(), observed.mask[0, 0].numpy()))
    kept = slice(demo.points, None)
    held_out, seen = _pixels(survey.grid, rows[kept], cols[kept], len(gain_db))
    truth = measured[kept][seen]
    all_rows, all_columns = np.indices(gain_db.shape).reshape(2, -1)
    pixels, covered = _pixels(survey.grid, all_rows, all_columns, len(gain_db))
    gain, buildings = gain_db.ravel()[covered], city.building_mask.ravel()[covered]
    x, y = _degrees(places[:1, 0], places[:1, 1], len(gain_db))
    error = survey.grid.to_pixels(x, y)[0] - report["transmitter"]["row_column"]
    return {
        "noise_std_db": noise_std_db,
        "held_out_rmse_db": _rms(found["outdoor_gain_db"][held_out] - truth),
        "kriging_held_out_rmse_db": _rms(kriged[held_out] - truth),
        "map_rmse_db": _rms(found["gain_db"][pixels] - gain),
        "kriging_map_rmse_db": _rms(kriged[pixels] - gain),
        "building_iou": float(
            iou(*(torch.from_numpy(m[None]) for m in (found["building_mask"][pixels], buildings)))
        ),
        "transmitter_error_m": float(np.hypot(*error)) * survey.grid.resolution_m,
    }


def _pixels(
    grid: Grid, rows: np.ndarray, columns: np.ndarray, height: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the grid's rows and columns of pixels of the city, and which pixels it covers."""
    pixels = np.rint(grid.to_pixels(*_degrees(rows, columns, height))).astype(int)
    inside = ((pixels >= 0) & (pixels < grid.shape)).all(axis=1)
    row, column = pixels[inside].T
    return (row, column), inside


def _degrees(rows: np.ndarray, columns: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of pixels of one metre."""
    west, south = CORNER
    per_longitude, per_latitude = Projection((west, south, west, south)).metres_per_degree
    return west + columns / per_longitude, south + (height - 1 - rows) / per_latitude


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))
