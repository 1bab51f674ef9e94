"""What the baselines share: their entry in the registry, inputs, validation and export.

All see the prompt as gray channels and, where they take measurements, one channel of measured
values; all predict gray. ``docs/explanation/baselines.md`` says where each comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.data.measurements import Measurements
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.pipeline import BaselinePipeline, network_input
from radiodiff.training.baselines.settings import BaselineExperiment, BaselineSettings
from radiodiff.training.measuring import draw_measurements, measure_validation
from radiodiff.training.scoring import preview_batch, rows, score_maps
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase
from radiodiff.units import gray_to_model, model_to_gray


@dataclass(frozen=True)
class Baseline:
    """A learned baseline, as the registry lists it."""

    settings: type[BaselineSettings]
    """Its settings, ``model`` of the configuration."""
    build: Callable[[BaselineExperiment], ModelMixin]
    """Builds the untrained network; :func:`input_channels` says for how many channels."""
    train: Callable[[BaselineExperiment, bool], None]
    """Trains it and exports it to ``model`` in the run directory; the last argument goes on with a
    run that was stopped."""


def input_channels(config: BaselineExperiment) -> int:
    """Return how many channels a baseline sees."""
    return len(config.data.prompt_features) + (config.measurements is not None)


class SquaredError(nn.Module):
    """Objective of a network that maps input channels to gray: the mean squared error."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch with ``gain``, ``prompt`` and what is drawn for it."""
        return squared_error(self.network(model_input(batch)), batch), {}


class BaselineTask:
    """What the baselines share: inputs, validation and export. A subclass adds the phases."""

    phases: list[Phase]

    def __init__(
        self, config: BaselineExperiment, validation: RadioMapSeer, network: ModelMixin
    ) -> None:
        self._validation = validation
        self._measurements = config.measurements
        takes = config.measurements is not None
        self.fields: tuple[str, ...] = ("gain", "prompt", *(("buildings",) if takes else ()))
        self.averaged = network
        self.frozen: list[nn.Module] = []
        self._pipeline = BaselinePipeline(network, config.data.prompt_features, takes)

    def draw(self, item: Item, generator: torch.Generator) -> Item:
        """Draw the measurements of a sample, if the network takes any."""
        if self._measurements is None:
            return {}
        drawn = draw_measurements(item["gain"], item["buildings"], self._measurements, generator)
        return {"values": drawn.values[0], "mask": drawn.mask[0]}

    def validate(self, indices: Sequence[int]) -> dict[str, list[float]]:
        """Score predicted maps; ``score`` is the NMSE."""
        return score_maps(self._predict, self._validation, indices, self.averaged.device)

    def preview(self) -> dict[str, Tensor]:
        """Return truth above predicted maps."""
        batch = preview_batch(self._validation, self.averaged.device)
        return {"predicted": rows(batch["gain"], self._predict(batch))}

    def export(self, directory: Path) -> None:
        """Write the network and its inputs for ``BaselinePipeline.from_pretrained``."""
        self._pipeline.save_pretrained(directory)

    def _predict(self, batch: Item) -> Tensor:
        """Return maps (N, 1, H, W) in model range."""
        return gray_to_model(self._pipeline(batch["prompt"], self._observe(batch))[:, None])

    def _observe(self, batch: Item) -> Measurements | None:
        """Measure validation maps, each always the same."""
        if self._measurements is None:
            return None
        return measure_validation(batch, self._measurements)


def model_input(batch: Item) -> Tensor:
    """Return what a network sees of a batch, (N, C, H, W)."""
    return network_input(batch["prompt"], measured(batch))


def measured(batch: Item) -> tuple[Tensor, Tensor] | None:
    """Return measured values and mask of a batch; None where there are none."""
    return (batch["values"], batch["mask"]) if "mask" in batch else None


def values_and_mask(measurements: Measurements | None) -> tuple[Tensor, Tensor] | None:
    """Return the parts of measurements that networks see."""
    return None if measurements is None else (measurements.values, measurements.mask)


def squared_error(gray: Tensor, batch: Item) -> Tensor:
    """Return the mean squared error of gray maps (N, 1, H, W)."""
    return functional.mse_loss(gray.float(), model_to_gray(batch["gain"]))
