"""The ``diffusion`` section of RadioDiff's configurations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from radiodiff.config import Settings

Attenuation = Literal["constant", "linear"]


Mode = Literal["released", "mean", "sample"]


Sampler = Literal["released", "bridge_mean", "probability_flow", "second_order"]


Loss = Literal["paper", "released"]


class DecoupledSettings(Settings):
    """The diffusion process, its loss and its sampler."""

    attenuation: Attenuation = "constant"
    """f_t constant (the paper's experiments) or linear in t (three-headed network)."""
    loss: Loss = "released"
    """``paper``: RadioDiff, eq. (20); ``released``: L1 + L2 with weights that depend on t."""
    mode: Mode = "released"
    """``released``: RadioDiff, eq. (16) as published, between the other two; ``mean``: the least
    squared error, too smooth; ``sample``: draws with the spread of the data."""
    sampler: Sampler | None = None
    """Overrides the sampler of ``mode`` (mean: bridge_mean, sample: second_order)."""
    grid_power: float | None = Field(default=None, gt=0, le=10)
    """Overrides the time grid of ``mode``: t_i = (1 - i/n)^power. 1 (released, mean) is uniform
    in t, 2 (sample) uniform in the noise level sqrt(t)."""
    time_shift: float = Field(default=1.0, gt=0)
    """Training times are s t / (1 + (s - 1) t) for uniform t: s > 1 trains more near t = 1, where
    the map comes from the prompt alone (Esser et al., 2024, eq. (23))."""
    split_last_step: bool = False
    """Take the last step in two, the second from t = 1e-4, as the release does on request."""
