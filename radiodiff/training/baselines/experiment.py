"""The experiment of a learned baseline: which network, and what it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from diffusers import ModelMixin
from pydantic import Field

from radiodiff.training.baselines.registry import BASELINES
from radiodiff.training.baselines.settings import BaselineSettings, MeasurementRanges
from radiodiff.training.experiments import Experiment

if TYPE_CHECKING:
    Model = BaselineSettings
else:
    Model = Annotated[
        Union[tuple(baseline.settings for baseline in BASELINES.values())],  # noqa: UP007
        Field(discriminator="name"),
    ]


class BaselineExperiment(Experiment):
    """A learned baseline (``scripts/train_baseline.py``).

    RadioUNet is trained twice as long as ``train`` says: the first U-Net, in the folder
    ``first_unet`` of the run directory, and then the second.
    """

    model: Model
    measurements: MeasurementRanges | None
    """What is measured of every map; null for a network that sees the prompt alone."""


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
