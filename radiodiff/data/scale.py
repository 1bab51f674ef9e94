"""The gain of gray levels 0 and 1 in dB, which differs between datasets.

Networks, metrics in gray and sampling do not know it. What is read or written in dB does: gain
files in dB, RMSE in dB, and the maps in dB of pipelines and scripts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import model_validator

from radiodiff.config import Settings, load_config
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB, model_to_gray

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", float, np.ndarray, "torch.Tensor")

DESCRIPTION = "radiomap.yaml"
"""File beside ``gain/`` and ``png/`` that describes a tree, see :class:`TreeDescription`."""


class Scale(Settings):
    """Path gain at both ends of the gray scale; the default is RadioMapSeer's."""

    min_db: float = GAIN_MIN_DB
    """Path gain of gray 0: anything weaker is truncated to it."""
    max_db: float = GAIN_MAX_DB
    """Path gain of gray 1, the largest level of an image."""

    @model_validator(mode="after")
    def _ordered(self) -> Scale:
        if not (math.isfinite(self.min_db) and math.isfinite(self.max_db)):
            raise ValueError("min_db and max_db must be finite")
        if not self.min_db < self.max_db:
            raise ValueError("min_db must be below max_db")
        return self

    @property
    def range_db(self) -> float:
        """Decibels from gray 0 to gray 1."""
        return self.max_db - self.min_db

    def gray_to_db(self, gray: Array) -> Array:
        """Convert gray in [0, 1] to path gain in dB."""
        return self.min_db + self.range_db * gray

    def db_to_gray(self, gain_db: Array) -> Array:
        """Convert path gain in dB to gray. Values outside the range give gray outside [0, 1]."""
        return (gain_db - self.min_db) / self.range_db

    def model_to_db(self, model: Array) -> Array:
        """Convert model range [-1, 1] to path gain in dB."""
        return self.gray_to_db(model_to_gray(model))


RADIOMAPSEER = Scale()


class TreeDescription(Settings):
    """What a tree says of itself (``radiomap.yaml``)."""

    scale: Scale = RADIOMAPSEER
    """Gain of gray 0 and 1."""


def tree_scale(root: Path, configured: Scale | None = None) -> Scale:
    """Return the scale that is configured, else what the tree says, else RadioMapSeer's.

    Raises:
        InputError: the tree's description cannot be read.
    """
    if configured is not None:
        return configured
    description = root / DESCRIPTION
    if not description.is_file():
        return RADIOMAPSEER
    return load_config(description, TreeDescription).scale
