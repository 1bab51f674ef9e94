"""Learning rate as a plain function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from radiodiff.training.settings import OptimizerSettings


def learning_rate_at(step: int, total_steps: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of update ``step`` (0-based) of ``total_steps``.

    Linear warm-up to the peak, then decay that reaches the floor exactly at the last update.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    decay_steps = max(1, total_steps - 1 - settings.warmup_steps)
    progress = min(1.0, (step - settings.warmup_steps) / decay_steps)
    if settings.schedule == "cosine":
        fraction = 0.5 * (1.0 + math.cos(math.pi * progress))
    else:
        fraction = (1.0 - progress) ** settings.power
    span = settings.learning_rate - settings.final_learning_rate
    return settings.final_learning_rate + span * fraction
