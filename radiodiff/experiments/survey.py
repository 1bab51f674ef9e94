"""From a survey's table to a radio map: arrays, picture, files for a GIS, and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from radiodiff.cli import open_run_directory, provenance
from radiodiff.data.survey import Survey, place_survey
from radiodiff.data.surveys.samples import SurveySamples, dropped_lines, read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.experiments.settings import SamplerSettings
from radiodiff.experiments.survey_buildings import check_samples_outside, read_buildings
from radiodiff.experiments.survey_field import (
    floor_note,
    map_field,
    predict_samples,
    validation_line,
    validation_report,
)
from radiodiff.experiments.survey_files import (
    SurveyMap,
    claim_directory,
    distance_trust,
    write_survey_files,
)
from radiodiff.experiments.survey_held_out import (
    SamplePrediction,
    predict_from_map,
    separate_held_out,
    write_held_out,
)
from radiodiff.files import write_json
from radiodiff.inverse.interpolation import kriging
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.sensing import truncation_floor
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, model_std_to_db, model_to_db

QUANTILES = (0.05, 0.5, 0.95)


class SurveyConfig(SamplerSettings):
    """Reconstruction of one map from a survey."""

    output: Path
    """Run directory: config.yaml, map.npz, report.json, and the files of
    :mod:`radiodiff.experiments.survey_files`."""
    survey: SurveySettings = SurveySettings()
    """How the table is read, and the grid."""
    method: Literal["field", "prior"] = "field"
    """A statistical field on the samples, or the learned prior (RadioDiff-Inverse) with path gain
    in RadioMapSeer's range. The field is what is best on measured surveys."""
    buildings: Path | None = None
    """Known buildings: a PNG of 0 and 255 on the grid, or GeoJSON."""
    tile_overlap: int = Field(default=64, ge=1)
    """Overlap of tiles where the grid is larger than the prior's maps, pixels."""
    seed: int = Field(default=0, ge=0)
    """Of the particles."""


def reconstruct_survey(
    measurements: Path, config: SurveyConfig, held_out: Path | None = None
) -> dict[str, Any]:
    """Reconstruct the map behind a table of samples and write everything into the run directory.

    Args:
        measurements: the table.
        config: how it is read, and by which method the map is made.
        held_out: a second table with samples that score the map, written with their predictions to
            held_out.csv.

    Returns:
        What ``report.json`` holds.

    Raises:
        InputError: a table, the buildings, the prior or the output cannot be used.
    """
    samples, kept_back = separate_held_out(
        read_samples(measurements, config.survey), held_out, config.survey, config.seed
    )
    survey = place_survey(samples, config.survey)
    notes = [*dropped_lines(survey.samples.dropped), *survey.notes]
    buildings = None
    if config.buildings is not None:
        buildings, said = read_buildings(config.buildings, survey.grid)
        notes += [*said, *check_samples_outside(config.buildings, buildings, survey.samples)]
    told_noise = config.survey.noise_std_db or config.survey.columns.noise_std_db
    if config.method == "field" and told_noise is not None:
        notes.append("method field estimates the noise itself; the noise_std_db given is not used")
    if config.method == "field":
        notes += floor_note(survey.samples.values)
    for note in notes:
        print(f"note: {note}", flush=True)
    inputs = {"measurements": measurements, "held_out": held_out, "buildings": config.buildings}
    made = _make_by_prior if config.method == "prior" else _make_by_field
    result, predicted, report = made(survey, buildings, config, inputs, kept_back)
    directory = config.output
    missing = write_survey_files(directory, survey.samples, result)
    for note in missing:
        print(f"note: {note}", flush=True)
    if kept_back is not None and predicted is not None:
        report["held_out"] = write_held_out(directory / "held_out.csv", kept_back, predicted)
    report = {
        "rows": survey.samples.rows,
        "dropped": survey.samples.dropped,
        "notes": [*notes, *missing],
        **report,
        "provenance": provenance(config, config.device),
    }
    write_json(directory / "report.json", report)
    return report


Made = tuple[SurveyMap, SamplePrediction | None, dict[str, Any]]


def _make_by_field(
    survey: Survey,
    buildings: np.ndarray | None,
    config: SurveyConfig,
    inputs: dict[str, Path | None],
    kept_back: SurveySamples | None,
) -> Made:
    """Make the map by a field on the samples' own values."""
    sources = claim_directory(config.output, inputs)
    directory = open_run_directory(config.output, config)
    began = time.perf_counter()
    found = map_field(survey.samples, config.seed)
    seconds = time.perf_counter() - began
    power = survey.transmit_power_dbm or 0.0
    mask = np.zeros(survey.grid.shape, dtype=bool) if buildings is None else buildings
    gain_db = found.mean - power
    np.savez_compressed(
        directory / "map.npz",
        gain_db=gain_db.astype(np.float32),
        outdoor_gain_db=gain_db.astype(np.float32),
        std_db=found.std.astype(np.float32),
        gain_db_q05=(found.q05 - power).astype(np.float32),
        gain_db_q95=(found.q95 - power).astype(np.float32),
        building_mask=mask,
        sample_pixels=survey.pixels,
        sample_gain_db=survey.gain_db,
    )
    validation = found.field.validation
    if validation is not None:
        print(validation_line(validation), flush=True)
    place = None if found.transmitter is None else found.transmitter
    trend = found.field.trend
    report = {
        **_samples_report(survey, config, sources),
        "sample_noise_db": float(np.sqrt(found.field.nugget)),
        "median_std_db": float(np.median(found.std)),
        "cross_validation": validation_report(validation),
        "path_loss_exponent": None if trend is None else trend.exponent,
        "transmitter": None
        if place is None
        else {"row_column": place.tolist(), "x_y": survey.grid.to_survey(place).tolist()},
        "seconds": seconds,
    }
    predicted = None if kept_back is None else predict_samples(found.field, kept_back)
    return _survey_map(survey, config, gain_db, gain_db, found.std, mask, place), predicted, report


def _make_by_prior(
    survey: Survey,
    buildings: np.ndarray | None,
    config: SurveyConfig,
    inputs: dict[str, Path | None],
    kept_back: SurveySamples | None,
) -> Made:
    """Make the map by RadioDiff-Inverse."""
    pipeline = load_pipeline(config.prior, config.device, config.dtype)
    learned = tuple(pipeline.config.gain_scale_db)
    if learned != (GAIN_MIN_DB, GAIN_MAX_DB):
        raise InputError(
            f"{config.prior}: learned maps from {learned[0]:g} to {learned[1]:g} dB; samples of a "
            f"survey become maps from {GAIN_MIN_DB:g} to {GAIN_MAX_DB:g} dB, so take another prior "
            "or method=field"
        )
    sources = claim_directory(config.output, inputs)
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
    predicted = None
    if kept_back is not None:
        noise = float(np.median(survey.noise_std_db))
        map_db = outdoor_db + (survey.transmit_power_dbm or 0.0)
        predicted = predict_from_map(kept_back, map_db, std_db, noise)
    report = {
        **_samples_report(survey, config, sources),
        **_prior_report(survey, output),
        "seconds": seconds,
    }
    place = output.transmitter[0].numpy()
    result = _survey_map(survey, config, gain_db, outdoor_db, std_db, shadows, place)
    return result, predicted, report


def _survey_map(
    survey: Survey,
    config: SurveyConfig,
    gain_db: np.ndarray,
    outdoor_db: np.ndarray,
    std_db: np.ndarray,
    mask: np.ndarray,
    transmitter: np.ndarray | None,
) -> SurveyMap:
    distance_m, spacing_m = survey.samples.distances()
    return SurveyMap(
        gain_db=gain_db,
        outdoor_gain_db=outdoor_db,
        std_db=std_db,
        trust=distance_trust(survey.grid, distance_m, spacing_m),
        building_mask=mask,
        transmitter=transmitter,
        transmit_power_dbm=survey.transmit_power_dbm,
        power_is_known=config.survey.transmit_power_dbm is not None,
    )


def _samples_report(
    survey: Survey, config: SurveyConfig, sources: dict[str, Any]
) -> dict[str, Any]:
    return {
        "source": sources,
        "method": config.method,
        "samples": len(survey.gain_db),
        "columns": survey.samples.columns,
        "transmit_power_dbm": survey.transmit_power_dbm,
        "transmit_power_is_known": config.survey.transmit_power_dbm is not None,
        "crs": survey.grid.crs,
        "shape": list(survey.grid.shape),
        "resolution_m": survey.grid.resolution_m,
        "origin": list(survey.grid.origin),
    }


def _prior_report(survey: Survey, output: InverseOutput) -> dict[str, Any]:
    position, std = output.transmitter[0].numpy(), output.transmitter_std[0].numpy()
    mean = output.mean[0, 0].float().cpu().numpy()
    floor = truncation_floor(mean)
    mask = survey.measurements.mask[0, 0].numpy()
    values = survey.measurements.values[0, 0].numpy()
    apart = model_to_db(mean.astype(np.float64)) - model_to_db(kriging(values, mask))
    return {
        "cells_observed": int(mask.sum()),
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
    }
