"""One map for each transmitter of a survey."""

from __future__ import annotations

import re
from pathlib import Path

from radiodiff.data.surveys.samples import group_values
from radiodiff.errors import InputError
from radiodiff.experiments.survey_settings import SurveyConfig


def survey_configs(measurements: Path, config: SurveyConfig) -> list[SurveyConfig]:
    """Return the configuration of each map: one for each value of ``survey.group_by``.

    Each takes the rows with its value, and writes into a folder named after it within the output.
    Without ``group_by`` the configuration is returned as it is.

    Raises:
        InputError: the file cannot be read, has no such column, or no value has enough rows.
    """
    column = config.survey.group_by
    if column is None:
        return [config]
    values, few = group_values(measurements, config.survey)
    if few:
        print(f"note: no map is made of {len(few)} values of {column!r} with few rows", flush=True)
    if not values:
        raise InputError(f"{measurements}: no value of {column!r} has enough rows for a map")
    configs = []
    for value in values:
        settings = config.survey.model_copy(
            update={"where": {**config.survey.where, column: value}, "group_by": None}
        )
        folder = re.sub(r"[^\w.+-]+", "_", f"{column}_{value}")
        update = {"survey": settings, "output": config.output / folder}
        configs.append(config.model_copy(update=update))
    return configs
