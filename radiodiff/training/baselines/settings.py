"""What every baseline is configured with: its name, and the measurements it is shown."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import field_validator

from radiodiff.config import Settings
from radiodiff.data.measurements import MeasurementProtocol


class BaselineSettings(Settings):
    """Which network; a subclass sets the name to a literal and adds the sizes."""

    name: str


class MeasurementRanges(Settings):
    """Which protocol measures a training sample: drawn anew for each, from these ranges."""

    kind: Literal["pixel", "block"]
    """Single pixels ("1 x 1"), or blocks of 2 x 3 off buildings ("2 x 3")."""
    aware: bool
    """Building pixels are observed as well, and the ratio counts outdoor pixels only."""
    missing_ratio: tuple[float, float]
    """Least and largest share of pixels that are not observed, uniform between."""
    noise_std: tuple[float, float]
    """Least and largest noise of the measurements, model range, uniform between."""

    @field_validator("missing_ratio", "noise_std")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= bounds[0] <= bounds[1]:
            raise ValueError("expected [least, largest] with 0 <= least <= largest")
        return bounds

    @field_validator("missing_ratio")
    @classmethod
    def _below_one(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[1] >= 1.0:
            raise ValueError("a ratio must be below 1")
        return bounds

    def draw(self, generator: torch.Generator) -> MeasurementProtocol:
        """Draw the protocol of one sample."""
        ratio, noise_std = (
            low + (high - low) * float(torch.rand((), generator=generator))
            for low, high in (self.missing_ratio, self.noise_std)
        )
        return MeasurementProtocol(
            kind=self.kind, aware=self.aware, missing_ratio=ratio, noise_std=noise_std
        )
