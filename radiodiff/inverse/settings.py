"""How the posterior is sampled: the settings of :mod:`radiodiff.inverse.filtering`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings

Spacing = Literal["uniform", "log_snr", "mean_map"]
Resampling = Literal["systematic", "multinomial", "none"]
Prediction = Literal["epsilon", "v_prediction"]
Interpolator = Literal["nearest", "linear", "rbf", "kriging"]


class FilterSettings(Settings):
    """How the posterior is sampled."""

    method: Literal["published", "matched", "combined"] = "matched"
    """``published``: likelihood at every level, as in the paper; ``matched``: at its own level;
    ``combined``: the estimate of the clean map and the measurements by their precisions, which also
    takes measurements between the pixels."""
    proposal: Literal["conditional", "prior"] = "conditional"
    """``published`` only. ``conditional``: the closed-form Gaussian of RadioDiff-Inverse, eq. (34);
    ``prior``: M candidates from RadioDiff-Inverse, eq. (35), of which one is kept by
    RadioDiff-Inverse, eq. (40), hence a single sample."""
    noise_path: Literal["auto", "common_noise", "independent_noise", "fixed_level"] = "auto"
    """``matched`` only. ``common_noise``: one noisy path of the measurements, followed with
    weights, exact in the limit of many particles; ``independent_noise``: new noise on the
    measurements at every level and for every particle, without weights, more robust to an imperfect
    prior; ``fixed_level``: measurements stay at their own level, exact for any number of particles,
    but the prior must take a level for every pixel (``level_map`` of
    :class:`radiodiff.inverse.prior.PatchUNet`). ``auto`` is ``fixed_level`` with such a prior, else
    ``common_noise`` with ``ddpm`` and ``independent_noise`` without."""
    min_noise_std: float = Field(default=0.0, ge=0)
    """``fixed_level`` only. Cleaner measurements are shown to the network as if they had this
    noise, model range, and put in by their own at the end: for a prior that makes less of clean
    measurements. Known buildings are shown as they are."""
    stochasticity: Literal["ddpm"] | float = 1.0
    """Share c of fresh noise in a prior step, in [0, 1]; ``ddpm``: the posterior variance."""
    repaint_jumps: int = Field(default=0, ge=0)
    """Times every step is taken back and repeated, so that pixels agree with measurements beside
    them (RePaint, Lugmayr et al., 2022); each costs a run. Not with weights."""
    guidance: bool = False
    """``combined`` only. Spread what measurements say through the network's Jacobian (Song et al.,
    2023), instead of to the measured pixels alone; doubles the cost."""
    self_ensemble: bool = False
    """Show the network every particle in another of a map's eight orientations, so that its
    one-sided errors cancel in the mean (self-ensemble, Timofte et al., 2016). Costs nothing; for
    priors trained on all orientations (``train.augment``)."""
    walls: bool = False
    """Draw the walls between measurements inside and outside of buildings as outlines with few
    corners (:mod:`radiodiff.inverse.walls`), where buildings are not given and measurements lie
    inside some."""
    path_loss_model: bool = False
    """Where buildings are drawn or given, hold the gain between them against the dominant path
    model (:mod:`radiodiff.inverse.propagation`). For maps of the prior's own size, with pixels of
    1 m; larger and smaller ones, and surveys, do without."""
    spacing: Spacing = "uniform"
    """Levels stepped through, see :func:`radiodiff.inverse.levels.choose_levels`."""
    resampling: Resampling = "systematic"
    """How parents are drawn; ``none`` keeps every particle with its weight."""
    ess_threshold: float = Field(default=0.5, gt=0, le=1)
    """Resample when the effective sample size is at most this share of M."""
    clip: bool = True
    """Limit the estimate of the clean map to [-1, 1]; never where the measurements are
    ``fixed_level``."""

    @model_validator(mode="after")
    def _check(self) -> FilterSettings:
        c = self.stochasticity
        if not isinstance(c, str) and not 0.0 <= c <= 1.0:
            raise ValueError(f"stochasticity is {c!r}; allowed are 'ddpm' and numbers in [0, 1]")
        if self.guidance and self.method != "combined":
            raise ValueError(f"guidance goes with method combined, not with {self.method}")
        if self.repaint_jumps and (self.method == "published" or self.weighted):
            raise ValueError(
                "repaint_jumps goes with combined, and with matched unless it is shared"
            )
        return self

    @property
    def weighted(self) -> bool:
        """Whether ``matched`` follows one noisy path of the measurements with weights."""
        by_default = self.noise_path == "auto" and self.stochasticity == "ddpm"
        return self.method == "matched" and (self.noise_path == "common_noise" or by_default)


CALIBRATED = FilterSettings(stochasticity="ddpm", spacing="log_snr")
"""Settings whose samples have the posterior's spread: with a prior of levels, with enough steps;
with another one, in the limit of many particles too. The defaults of :class:`FilterSettings` aim at
the mean map."""

MEAN_MAP = FilterSettings(
    self_ensemble=True, spacing="mean_map", min_noise_std=0.05, walls=True, path_loss_model=True
)
"""Settings for the mean map in few steps, with a prior of levels: what the pipeline takes with one
if nothing else is asked."""
