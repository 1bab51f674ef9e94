"""The configuration of a survey's map."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.experiments.settings import SamplerSettings


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
