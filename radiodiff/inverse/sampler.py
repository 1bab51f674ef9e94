"""What every sampler of the posterior has, and the registry that finds one by its name.

A sampler is a section of a configuration that can run itself: a subclass of :class:`Sampler` with a
name in ``method``, its own options as fields, and :meth:`Sampler.sample`. This module is read
before torch is loaded; the samplers themselves are read when a configuration names one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator

from radiodiff.config import Settings
from radiodiff.config_keys import Alternatives
from radiodiff.inverse.settings import Resampling, Spacing

if TYPE_CHECKING:
    from torch import Tensor

    from radiodiff.inverse.particles import Network, Problem


class Sampler(Settings):
    """How the posterior is sampled: what all samplers have in common."""

    takes_points: ClassVar[bool] = False
    """Measurements between the pixels are taken where they were made (``Problem.points``)."""

    method: str
    """Name of the sampler."""
    stochasticity: Literal["ddpm"] | float = 1.0
    """Share c of fresh noise in a prior step, in [0, 1]; ``ddpm``: the posterior variance."""
    spacing: Spacing = "uniform"
    """Noise levels stepped through, see :func:`radiodiff.inverse.levels.choose_levels`."""
    self_ensemble: bool = False
    """Show the network every particle in another of a map's eight orientations, so that its
    one-sided errors cancel in the mean (self-ensemble, Timofte et al., 2016). Costs nothing; for
    priors trained on all orientations (``train.augment``)."""

    @field_validator("stochasticity")
    @classmethod
    def _check_stochasticity(cls, c: str | float) -> str | float:
        if not isinstance(c, str) and not 0.0 <= c <= 1.0:
            raise ValueError(f"stochasticity is {c!r}; allowed are 'ddpm' and numbers in [0, 1]")
        return c

    def schedule(self, problem: Problem) -> Tensor:
        """Return the noise levels that one map is stepped through.

        Args:
            problem: one map; ``alpha_bar`` holds the levels asked for.

        Returns:
            (K + 1,) float64 ``alpha_bar``, the last one 1; where one falls, noise is added again.
        """
        return problem.alpha_bar

    def sample(self, network: Network, problem: Problem) -> tuple[Tensor, Tensor]:
        """Draw samples of the posterior.

        Args:
            network: the prior's noise predictor.
            problem: B maps with the same schedule, which ``problem.alpha_bar`` holds.

        Returns:
            Samples (B, M, *dims), model range, and their float64 logarithmic weights (B, M), which
            need not be normalised.
        """
        raise NotImplementedError


class ClippedSampler(Sampler):
    """A sampler that can limit the estimates of its prior."""

    clip: bool = True
    """Limit the estimate of the clean map to [-1, 1]."""


class WeightedSampler(ClippedSampler):
    """A sampler whose particles have weights."""

    resampling: Resampling = "systematic"
    """How parents are drawn."""
    ess_threshold: float = Field(default=0.5, ge=0, le=1)
    """Resample when the effective sample size is at most this share of M; 0 keeps every particle
    with its weight."""


SamplerT = TypeVar("SamplerT", bound=Sampler)
SAMPLERS: dict[str, type[Sampler]] = {}
"""Every sampler of :mod:`radiodiff.inverse.samplers` by the name that ``sampler.method`` gives."""


def register(sampler: type[SamplerT]) -> type[SamplerT]:
    """Add a sampler to the registry, under the default of its ``method``; a class decorator."""
    SAMPLERS[sampler.model_fields["method"].default] = sampler
    return sampler


def _load() -> dict[str, type[Sampler]]:
    """Return the registry, filled; loads torch."""
    import radiodiff.inverse.samplers  # noqa: F401

    return SAMPLERS


def _find(value: Any) -> Any:
    """Read the settings of one sampler with the class that its ``method`` names."""
    if not isinstance(value, dict):
        return value
    samplers, method = _load(), value.get("method")
    if method not in samplers:
        raise ValueError(f"method is {method!r}; allowed are {', '.join(sorted(samplers))}")
    return samplers[method].model_validate(value)


AnySampler = Annotated[
    SerializeAsAny[Sampler], BeforeValidator(_find), Alternatives("method", _load)
]
"""Type of a configuration's field that holds any sampler of the registry."""
