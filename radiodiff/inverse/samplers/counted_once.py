"""Preparation of the samplers that count a measurement once, at the noise level of its own noise.

y = x_0 + sigma n has the distribution of the diffused map at the level tau where
(1 - abar_tau) / abar_tau = sigma^2. Each pixel has its own tau.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from radiodiff.inverse.levels import insert_levels, measurement_level, share_levels
from radiodiff.inverse.particles import Problem

MAX_INSERTED_LEVELS = 16
"""Distinct measurement levels put into the schedule of one map; each costs a network call."""


def with_shared_levels(problem: Problem) -> Problem:
    """Limit the distinct noise levels of each map's measurements to ``MAX_INSERTED_LEVELS``."""
    shared = [
        share_levels(sigma, observed, MAX_INSERTED_LEVELS)
        for sigma, observed in zip(problem.noise_std, problem.observed, strict=True)
    ]
    return replace(problem, noise_std=torch.stack(shared))


def schedule_with_own_levels(problem: Problem) -> Tensor:
    """Return the schedule with the levels of the measurements among it.

    Args:
        problem: one map, its levels shared.

    Returns:
        (K + 1 + up to MAX_INSERTED_LEVELS,) increasing float64 levels.
    """
    own = measurement_level(torch.unique(problem.noise_std[problem.observed])).cpu()
    return insert_levels(problem.alpha_bar, own)
