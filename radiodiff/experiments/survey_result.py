"""What every method of mapping a survey returns."""

from __future__ import annotations

from typing import Any

import numpy as np

from radiodiff.data.survey import Survey
from radiodiff.experiments.survey_files import SurveyMap, distance_trust
from radiodiff.experiments.survey_held_out import SamplePrediction
from radiodiff.experiments.survey_settings import SurveyConfig

Made = tuple[SurveyMap, SamplePrediction | None, dict[str, Any]]
"""The map, the held-out samples as predicted if there are any, and its part of the report."""


def survey_map(
    survey: Survey,
    config: SurveyConfig,
    gain_db: np.ndarray,
    outdoor_db: np.ndarray,
    std_db: np.ndarray,
    mask: np.ndarray,
    transmitter: np.ndarray | None,
) -> SurveyMap:
    """Put a map together from the arrays that a method found.

    Args:
        survey: on its grid.
        config: whether the transmit power was given.
        gain_db: (H, W) path gain in dB.
        outdoor_db: (H, W) path gain in dB that a receiver outdoors would see.
        std_db: (H, W) standard deviation in dB.
        mask: (H, W) bool, buildings.
        transmitter: (2,) row and column, or None.
    """
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


def samples_report(survey: Survey, config: SurveyConfig, sources: dict[str, Any]) -> dict[str, Any]:
    """Return what ``report.json`` says of the samples and the grid, whatever the method.

    Args:
        survey: on its grid.
        config: method and transmit power.
        sources: what the map is made from, as written by ``claim_directory``.
    """
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
