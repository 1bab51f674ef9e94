"""The threshold of gray maps at the noise floor, which some papers apply before they score."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from radiodiff.data.settings import Threshold
from radiodiff.units import NOISE_FLOOR_GRAY

Gray = TypeVar("Gray", np.ndarray, torch.Tensor)


def apply_threshold(gray: Gray, threshold: Threshold) -> Gray:
    """Clip gray at the noise floor and stretch what is left to [0, 1]: (max(g, 0.2) - 0.2) / 0.8.

    This is "thr2" of RadioUNet (Levie et al., 2021). With "none" the map is returned unchanged.
    """
    if threshold == "none":
        return gray
    return (gray.clip(NOISE_FLOOR_GRAY) - NOISE_FLOOR_GRAY) / (1.0 - NOISE_FLOOR_GRAY)


def undo_threshold(gray: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Bring a map in thresholded gray back to plain gray; what was below the floor stays at 0.2."""
    if threshold == "none":
        return gray
    return NOISE_FLOOR_GRAY + (1.0 - NOISE_FLOOR_GRAY) * gray
