"""Names and settings of RadioDiff-Inverse that are read before torch is loaded."""

from __future__ import annotations

from typing import Literal

from radiodiff.config import Settings

Spacing = Literal["uniform", "log_snr", "mean_map"]
Resampling = Literal["systematic", "multinomial"]
Prediction = Literal["epsilon", "v_prediction"]
Interpolator = Literal["nearest", "linear", "rbf", "kriging"]


class RefinementSettings(Settings):
    """What is known of cities and of propagation, added to reconstructed maps."""

    walls: bool = False
    """Draw the walls between measurements inside and outside of buildings as outlines with few
    corners (:mod:`radiodiff.inverse.walls`), where buildings are not given and measurements lie
    inside some."""
    path_loss_model: bool = False
    """Where buildings are drawn or given, hold the gain between them against the dominant path
    model (:mod:`radiodiff.inverse.propagation`). For maps of the prior's own size, with pixels of
    1 m; larger and smaller ones, and surveys, do without."""
