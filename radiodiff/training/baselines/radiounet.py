"""RadioUNet: the first U-Net, and then the second on the maps of the first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.pipeline import network_input
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.training.baselines.common import (
    Baseline,
    BaselineTask,
    SquaredError,
    input_channels,
    model_input,
    squared_error,
    values_and_mask,
)
from radiodiff.training.baselines.settings import BaselineExperiment, RadioUNetSettings
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.experiments import train_stage
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase
from radiodiff.units import gray_to_model

FIRST_UNET = "first_unet"
"""Folder of the run directory in which the first U-Net is trained."""


class SecondSquaredError(nn.Module):
    """Objective of RadioUNet's second U-Net, which sees the map of the finished first."""

    def __init__(self, network: RadioUNet) -> None:
        super().__init__()
        self.second = network.second
        self._frozen = (network.first,)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, see :class:`SquaredError`."""
        (first,) = self._frozen
        x = model_input(batch)
        with torch.no_grad():
            gray = first(x)
        return squared_error(self.second(torch.cat((gray, x), dim=1)), batch), {}


class FirstUNetTask(BaselineTask):
    """RadioUNet's first phase: the first U-Net alone."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        self.averaged: RadioUNet
        super().__init__(config, validation, _build(config))
        self.phases = [Phase("first_unet", SquaredError(self.averaged.first), config.optimizer)]

    def export(self, directory: Path) -> None:
        """Write the network, whose second U-Net is not trained yet."""
        self.averaged.save_pretrained(directory)

    @torch.inference_mode()
    def _predict(self, batch: Item) -> Tensor:
        x = network_input(batch["prompt"], values_and_mask(self._observe(batch)))
        return gray_to_model(self.averaged.first(x))


class SecondUNetTask(BaselineTask):
    """RadioUNet's second phase: the second U-Net on the maps of the first, which rests.

    Args:
        config: the experiment.
        validation: maps that are scored.
        network: what the first phase exported.
    """

    def __init__(
        self, config: BaselineExperiment, validation: RadioMapSeer, network: RadioUNet
    ) -> None:
        super().__init__(config, validation, network)
        self.frozen = [network.first]
        self.phases = [Phase("second_unet", SecondSquaredError(network), config.optimizer)]


def _build(config: BaselineExperiment) -> RadioUNet:
    settings = config.model
    assert isinstance(settings, RadioUNetSettings)
    widths = settings.first_widths, settings.second_widths, settings.head_widths
    return RadioUNet(input_channels(config), *widths)


def _train(config: BaselineExperiment, resume: bool) -> None:
    first = config.model_copy(update={"output": config.output / FIRST_UNET})
    train_stage(first, FirstUNetTask, resume)
    if (newest_step(first.output / "checkpoints") or 0) < config.train.steps:
        return  # stopped on request
    trained = RadioUNet.from_pretrained(first.output / "model")
    second = config.model_copy(update={"start_from": None})  # the first began from both
    train_stage(second, partial(SecondUNetTask, network=trained), resume)


BASELINE = Baseline(RadioUNetSettings, _build, _train)
