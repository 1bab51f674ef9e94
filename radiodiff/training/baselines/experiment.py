"""The learned baselines, built and trained as the registry says."""

from __future__ import annotations

from diffusers import ModelMixin

from radiodiff.training.baselines.registry import BASELINES
from radiodiff.training.baselines.settings import BaselineExperiment


def build_network(config: BaselineExperiment) -> ModelMixin:
    """Build the untrained network of an experiment."""
    return BASELINES[config.model.name].build(config)


def train_baseline(config: BaselineExperiment, resume: bool) -> None:
    """Train a baseline and export it to ``model`` in the run directory.

    Args:
        config: the experiment.
        resume: go on with a run that was stopped.

    Raises:
        InputError: as :func:`radiodiff.training.engine.train`.
    """
    BASELINES[config.model.name].train(config, resume)
