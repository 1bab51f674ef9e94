"""The map of a survey by RadioDiff-Inverse."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radiodiff.cli import open_run_directory
from radiodiff.data.survey import Survey
from radiodiff.data.surveys.samples import SurveySamples
from radiodiff.errors import InputError
from radiodiff.experiments.sampling import load_pipeline
from radiodiff.experiments.survey_files import claim_directory
from radiodiff.experiments.survey_held_out import predict_from_map
from radiodiff.experiments.survey_result import Made, samples_report, survey_map
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.files import write_npz
from radiodiff.inverse.interpolation import kriging
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.sensing import truncation_floor
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, model_std_to_db, model_to_db

QUANTILES = (0.05, 0.5, 0.95)


def make_by_prior(
    survey: Survey,
    buildings: np.ndarray | None,
    config: SurveyConfig,
    inputs: dict[str, Path | None],
    kept_back: SurveySamples | None,
    progress: Callable[[int, int], None] | None,
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
    pipeline.set_progress_bar_config(disable=progress is not None)
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
        progress=progress,
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
    write_npz(
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
        **samples_report(survey, config, sources),
        **_prior_report(survey, output),
        "seconds": seconds,
    }
    place = output.transmitter[0].numpy()
    result = survey_map(survey, config, gain_db, outdoor_db, std_db, shadows, place)
    return result, predicted, report


def _prior_report(survey: Survey, output: InverseOutput) -> dict[str, Any]:
    position, std = output.transmitter[0].numpy(), output.transmitter_std[0].numpy()
    mean = output.mean[0, 0].float().cpu().numpy()
    floor = truncation_floor(mean)
    mask = survey.measurements.mask[0, 0].numpy()
    values = survey.measurements.values[0, 0].numpy()
    apart = model_to_db(mean.astype(np.float64)) - model_to_db(kriging(values, mask))
    return {
        "pixels_observed": int(mask.sum()),
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
