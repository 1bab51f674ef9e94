"""What RadioDiff-Inverse returns: the posterior of maps, buildings and transmitters."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radiodiff.data.measurements import BUILDING_VALUE, Measurements
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.errors import InputError
from radiodiff.inverse.nearest import fill_from_nearest


@dataclass(frozen=True)
class InverseOutput:
    """The posterior of B maps, in model range; ``..._db`` gives it in dB."""

    mean: Tensor
    """(B, 1, H, W) weighted mean of the samples; with walls, the expectation over all outlines."""
    std: Tensor
    """(B, 1, H, W) standard deviation around it, likewise."""
    samples: Tensor
    """(B, M, 1, H, W); with walls, each has outlines of its own."""
    log_weights: Tensor
    """(B, M) float64, normalised."""
    building_mask: Tensor
    """(B, 1, H, W) bool: more likely building, or in shadow, than not; or the buildings given."""
    building_probability: Tensor
    """(B, 1, H, W) share of the outlines drawn that a pixel is in; without walls, weighted share of
    the samples below the shadow threshold, which is raised at edges where none was given
    (:func:`radiodiff.inverse.sensing.local_shadow_threshold`)."""
    shadow_threshold: Tensor
    """(B,) tau of each map, given or estimated from its truncation floor."""
    transmitter: Tensor
    """(B, 2) float64 estimated row and column."""
    transmitter_std: Tensor
    """(B, 2) float64 standard deviation: of the fit, and of its position among the samples."""
    measurements: Measurements
    """What the map was made from, with every noise level."""
    buildings: Tensor | None
    """(B, 1, H, W) bool buildings given by the caller."""
    scale: Scale = RADIOMAPSEER
    """Gain of gray 0 and 1 in dB."""

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields in their order, as diffusers' outputs do."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def path_gain_db(self) -> Tensor:
        """(B, 1, H, W) path gain of the mean map in dB."""
        return self.scale.model_to_db(self.mean)

    @property
    def std_db(self) -> Tensor:
        """(B, 1, H, W) standard deviation around it in dB."""
        return self.std * (self.scale.range_db / 2.0)

    def quantile_db(self, probability: float) -> Tensor:
        """Return :meth:`quantile` as path gain in dB, (B, 1, H, W)."""
        return self.scale.model_to_db(self.quantile(probability))

    def quantile(self, probability: float) -> Tensor:
        """Return the weighted quantile of the samples in every pixel, (B, 1, H, W), model range.

        Between samples it is interpolated linearly, each in the middle of its weight.

        Raises:
            InputError: a probability outside [0, 1].
        """
        if not 0.0 <= probability <= 1.0:
            raise InputError(f"probability: found {probability}, allowed are 0 .. 1")
        ordered, order = self.samples.sort(dim=1)
        weights = self.log_weights.exp().view(*order.shape[:2], 1, 1, 1).expand(order.shape)
        weights = weights.gather(1, order)
        middle = (weights.cumsum(dim=1) - weights / 2).clamp(0.0, 1.0)
        count = order.shape[1]
        above = (middle < probability).sum(dim=1, keepdim=True).clamp(max=count - 1)
        below = (above - 1).clamp(min=0)
        low, high = middle.gather(1, below), middle.gather(1, above)
        share = ((probability - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
        low_value, high_value = ordered.gather(1, below), ordered.gather(1, above)
        return (low_value + share * (high_value - low_value)).squeeze(1).to(self.mean.dtype)

    def outdoor_mean(self) -> Tensor:
        """Return the gain to expect of a receiver outdoors, (B, 1, H, W), model range.

        The weighted mean of the samples that are in a pixel nearer to the nearest measurement than
        to the truncation; where none is, that of the nearest pixel where one is. ``mean`` is drawn
        towards the truncation wherever there may be a building.
        """
        y, mask = self.measurements.values.to(self.samples), self.measurements.mask
        threshold = (_fill_from_nearest(y, mask) + BUILDING_VALUE) / 2
        weights = self.log_weights.exp().to(self.samples).view(*self.samples.shape[:2], 1, 1, 1)
        weights = weights * (self.samples > threshold[:, None])
        total = weights.sum(dim=1)
        mean = (weights * self.samples).sum(dim=1) / total.clamp(min=1e-12)
        return _fill_from_nearest(torch.where(total > 0, mean, self.mean), total > 0)


def _fill_from_nearest(values: Tensor, known: Tensor) -> Tensor:
    """Do as :func:`radiodiff.inverse.nearest.fill_from_nearest` with maps (B, 1, H, W)."""
    maps = zip(values[:, 0].cpu().numpy(), known[:, 0].cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([fill_from_nearest(*own) for own in maps])[:, None]).to(values)
