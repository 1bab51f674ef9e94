"""From a survey's table to a radio map: arrays, picture, files for a GIS, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from radiodiff.cli import open_run_directory, provenance
from radiodiff.data.survey import Survey, place_survey
from radiodiff.data.surveys.samples import SurveySamples, dropped_lines, read_samples
from radiodiff.experiments.survey_buildings import check_samples_outside, read_buildings
from radiodiff.experiments.survey_field import (
    floor_note,
    map_field,
    predict_samples,
    validation_line,
    validation_report,
)
from radiodiff.experiments.survey_files import (
    claim_directory,
    write_survey_files,
)
from radiodiff.experiments.survey_held_out import (
    separate_held_out,
    write_held_out,
)
from radiodiff.experiments.survey_result import Made, samples_report, survey_map
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.files import write_json, write_npz


def reconstruct_survey(
    measurements: Path,
    config: SurveyConfig,
    held_out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Reconstruct the map behind a table of samples and write everything into the run directory.

    Args:
        measurements: the table.
        config: how it is read, and by which method the map is made.
        held_out: a second table with samples that score the map, written with their predictions to
            held_out.csv.
        progress: called with the steps done and to do; None draws a bar on the terminal.

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
    if config.method == "prior":
        # Here, so that a field waits for no network's libraries.
        from radiodiff.experiments.survey_prior import make_by_prior as made
    else:
        made = _make_by_field
    result, predicted, report = made(survey, buildings, config, inputs, kept_back, progress)
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


def _make_by_field(
    survey: Survey,
    buildings: np.ndarray | None,
    config: SurveyConfig,
    inputs: dict[str, Path | None],
    kept_back: SurveySamples | None,
    progress: Callable[[int, int], None] | None,
) -> Made:
    """Make the map by a field on the samples' own values."""
    sources = claim_directory(config.output, inputs)
    directory = open_run_directory(config.output, config)
    began = time.perf_counter()
    found = map_field(survey.samples, config.seed, progress)
    seconds = time.perf_counter() - began
    power = survey.transmit_power_dbm or 0.0
    mask = np.zeros(survey.grid.shape, dtype=bool) if buildings is None else buildings
    gain_db = found.mean - power
    write_npz(
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
        **samples_report(survey, config, sources),
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
    return survey_map(survey, config, gain_db, gain_db, found.std, mask, place), predicted, report
