"""The path-loss model of the dominant path model and its fitted constants."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field

from radiodiff.config import Settings, load_config

CONSTANTS_FILE = Path(__file__).with_name("dominant_path.yaml")


class PathLossModel(Settings):
    """Path loss in dB over a path of length l metres with changes of direction theta_i.

    Line of sight: PL = L_0 + n_LOS log10(l). Otherwise PL = L_0 + n_OLOS log10(l) +
    sum_i f(theta_i) with f(theta) = a + b min(theta, theta_max).
    """

    line_of_sight_db_at_1m: float = Field(gt=0)
    """L_0."""
    line_of_sight_db_per_decade: float = Field(gt=0)
    """n_LOS."""
    obstructed_db_per_decade: float = Field(gt=0)
    """n_OLOS."""
    interaction_offset_db: float = Field(ge=0)
    """a, the loss of any change of direction."""
    interaction_db_per_degree: float = Field(ge=0)
    """b."""
    interaction_breakpoint_degree: float = Field(gt=0, le=180)
    """theta_max, from which on the loss of an interaction is constant."""
    roof_height_m: float = Field(gt=0)
    """Height of the roofs above the antennas."""
    roof_part_m: float = Field(gt=0)
    """Walls carry a roof point in the middle of every part, of at most this length."""
    roof_crossing_db: float = Field(ge=0)
    """Loss of every wall beyond two that a horizontal path over the roofs crosses."""
    roof_point_position: float = Field(default=0.5, gt=0, lt=1)
    """Where on its part of the wall a roof point stands: 0.5 is the middle."""
    over_roofs: bool = True
    """Whether there are paths over the roofs."""

    def interaction_loss(self, theta_degree: float) -> float:
        """Return f(theta) in dB."""
        theta = min(theta_degree, self.interaction_breakpoint_degree)
        return self.interaction_offset_db + self.interaction_db_per_degree * theta

    def line_of_sight_loss(self, distance_m: np.ndarray) -> np.ndarray:
        """Return the loss in dB in line of sight; closer than 1 m it is that at 1 m."""
        decades = np.log10(np.maximum(distance_m, 1.0))
        return self.line_of_sight_db_at_1m + self.line_of_sight_db_per_decade * decades

    def path_loss(self, length_m: float, angles_degree: tuple[float, ...] = ()) -> float:
        """Return the loss in dB of one path: in line of sight if it never changes direction.

        Closer than 1 m the loss is that at 1 m.
        """
        slope = self.obstructed_db_per_decade if angles_degree else self.line_of_sight_db_per_decade
        distance = math.log10(max(length_m, 1.0))
        return (
            self.line_of_sight_db_at_1m
            + slope * distance
            + sum(self.interaction_loss(theta) for theta in angles_degree)
        )


class CrossValidation(Settings):
    """Errors on real maps of layouts that had no part in the fit, means over the maps."""

    maps: int
    layouts: int
    folds: int
    nmse: float
    """Of whole maps, in gray."""
    rmse: float
    """Over outdoor pixels, of full scale."""
    line_of_sight_rmse: float
    """Over outdoor pixels in line of sight, of full scale."""


class Constants(Settings):
    """What ``dominant_path.yaml`` holds; written by ``scripts/calibrate_simulator.py``."""

    path_loss_model: PathLossModel
    cross_validation: CrossValidation | None = None


@cache
def constants() -> Constants:
    """Return the fitted constants of the package."""
    return load_config(CONSTANTS_FILE, Constants)
