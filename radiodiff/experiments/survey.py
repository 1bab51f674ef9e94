"""From a survey's table to a radio map: arrays, picture, files for a GIS, and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from radiodiff.cli import open_run_directory, provenance, write_json
from radiodiff.data.survey import Survey, read_survey
from radiodiff.data.surveys.samples import dropped_lines
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.experiments.inverse_benchmark import load_pipeline
from radiodiff.experiments.settings import SamplerSettings
from radiodiff.experiments.survey_buildings import check_samples_outside, read_buildings
from radiodiff.experiments.survey_files import (
    SurveyMap,
    claim_directory,
    distance_trust,
    write_survey_files,
)
from radiodiff.inverse.interpolation import kriging
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.sensing import truncation_floor
from radiodiff.units import model_std_to_db, model_to_db

QUANTILES = (0.05, 0.5, 0.95)


class SurveyConfig(SamplerSettings):
    """Reconstruction of one map from a survey."""

    output: Path
    """Run directory: config.yaml, map.npz, report.json, and the files of
    :mod:`radiodiff.experiments.survey_files`."""
    survey: SurveySettings = SurveySettings()
    """How the table is read, and the grid."""
    buildings: Path | None = None
    """Known buildings: a PNG of 0 and 255 on the grid, or GeoJSON."""
    tile_overlap: int = Field(default=64, ge=1)
    """Overlap of tiles where the grid is larger than the prior's maps, pixels."""
    seed: int = Field(default=0, ge=0)
    """Of the particles."""


def reconstruct_survey(measurements: Path, config: SurveyConfig) -> dict[str, Any]:
    """Reconstruct the map behind a table of samples and write everything into the run directory.

    Returns:
        What ``report.json`` holds.

    Raises:
        InputError: the table, the buildings, the prior or the output cannot be used.
    """
    survey = read_survey(measurements, config.survey)
    notes = [*dropped_lines(survey.samples.dropped), *survey.notes]
    buildings = None
    if config.buildings is not None:
        buildings, said = read_buildings(config.buildings, survey.grid)
        notes += [*said, *check_samples_outside(config.buildings, buildings, survey.samples)]
    for note in notes:
        print(f"note: {note}", flush=True)
    pipeline = load_pipeline(config.prior, config.device, config.dtype)
    sources = claim_directory(
        config.output, {"measurements": measurements, "buildings": config.buildings}
    )
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
    distance_m, spacing_m = survey.samples.distances()
    result = SurveyMap(
        gain_db=gain_db,
        outdoor_gain_db=outdoor_db,
        std_db=std_db,
        trust=distance_trust(survey.grid, distance_m, spacing_m),
        building_mask=shadows,
        transmitter=output.transmitter[0].numpy(),
        transmit_power_dbm=survey.transmit_power_dbm,
        power_is_known=config.survey.transmit_power_dbm is not None,
    )
    missing = write_survey_files(directory, survey.samples, result)
    for note in missing:
        print(f"note: {note}", flush=True)
    report = {
        "source": sources,
        "rows": survey.samples.rows,
        "dropped": survey.samples.dropped,
        "notes": [*notes, *missing],
        **_report(survey, output, config, seconds),
    }
    write_json(directory / "report.json", report)
    return report


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
        "columns": survey.samples.columns,
        "transmit_power_dbm": survey.transmit_power_dbm,
        "transmit_power_is_known": config.survey.transmit_power_dbm is not None,
        "crs": survey.grid.crs,
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
