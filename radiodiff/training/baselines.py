"""Training of the learned baselines: RadioUNet, UVM-Net and RME-GAN, with or without measurements.

``docs/explanation/baselines.md`` says where each comes from. All see the prompt as gray channels
and, where they take measurements, one channel of measured values; all predict gray.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.data.measurements import Measurements, block_mask, measure, pixel_mask
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.pipeline import BaselinePipeline, network_input
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.models.baselines.rmegan import (
    Discriminator,
    RMEGANGenerator,
    adversarial_loss,
    generator_loss,
)
from radiodiff.models.baselines.uvmnet import UVMNet
from radiodiff.training.baseline_settings import (
    BaselineExperiment,
    MeasurementSettings,
    RadioUNetSettings,
    RMEGANSettings,
    UVMNetSettings,
)
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.experiments import train_stage
from radiodiff.training.scoring import (
    preview_batch,
    rows,
    score_maps,
    without_gradients,
)
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase
from radiodiff.units import gray_to_model, model_to_gray

FIRST_UNET = "first_unet"
"""Folder of the run directory in which RadioUNet's first U-Net is trained."""


class SquaredError(nn.Module):
    """Objective of a network that maps input channels to gray: the mean squared error."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch with ``gain``, ``prompt`` and what is drawn for it."""
        return _squared_error(self.network(_input(batch)), batch), {}


class SecondSquaredError(nn.Module):
    """Objective of RadioUNet's second U-Net, which sees the map of the finished first."""

    def __init__(self, network: RadioUNet) -> None:
        super().__init__()
        self.second = network.second
        self._frozen = (network.first,)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, see :class:`SquaredError`."""
        (first,) = self._frozen
        x = _input(batch)
        with torch.no_grad():
            gray = first(x)
        return _squared_error(self.second(torch.cat((gray, x), dim=1)), batch), {}


class Generation(nn.Module):
    """Objective of RME-GAN's generator."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, settings: RMEGANSettings
    ) -> None:
        super().__init__()
        self.generator = generator
        # A tuple keeps the discriminator out of this module's parameters.
        self._frozen = (discriminator,)
        self._settings = settings

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its parts, see :class:`SquaredError`."""
        (discriminator,) = self._frozen
        settings = self._settings
        first = step < settings.second_phase
        x = _input(batch)
        gray = self.generator(x)
        samples = _samples(batch)
        if samples is not None:
            samples = (model_to_gray(samples[0]), samples[1])
        with without_gradients(discriminator):
            return generator_loss(
                gray,
                model_to_gray(batch["gain"]),
                discriminator(gray, x),
                settings.first_weights if first else settings.second_weights,
                samples,
            )


class Discrimination(nn.Module):
    """Objective of RME-GAN's discriminator: true maps apart from generated ones."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._frozen = (generator,)

    def forward(self, batch: Item, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and the mean logits, see :class:`SquaredError`."""
        (generator,) = self._frozen
        x = _input(batch)
        with torch.no_grad():
            gray = generator(x)
        real = self.discriminator(model_to_gray(batch["gain"]), x).float()
        fake = self.discriminator(gray, x).float()
        loss = (adversarial_loss(real, real=True) + adversarial_loss(fake, real=False)) / 2
        return loss, {"logits_real": real.detach().mean(), "logits_fake": fake.detach().mean()}


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
        drawn = [
            draw_measurements(
                gain.cpu(),
                buildings.cpu(),
                self._measurements,
                torch.Generator().manual_seed(index),
            )
            for gain, buildings, index in zip(
                batch["gain"], batch["buildings"], batch["index"], strict=True
            )
        ]
        return Measurements(
            torch.cat([one.values for one in drawn]), torch.cat([one.mask for one in drawn])
        ).to(batch["gain"].device)


class FirstUNetTask(BaselineTask):
    """RadioUNet's first phase: the first U-Net alone."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        self.averaged: RadioUNet
        super().__init__(config, validation, build_network(config))
        self.phases = [Phase("first_unet", SquaredError(self.averaged.first), config.optimizer)]

    def export(self, directory: Path) -> None:
        """Write the network, whose second U-Net is not trained yet."""
        self.averaged.save_pretrained(directory)

    @torch.inference_mode()
    def _predict(self, batch: Item) -> Tensor:
        x = network_input(batch["prompt"], _parts(self._observe(batch)))
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


class UVMNetTask(BaselineTask):
    """UVM-Net, "trained as RadioUNet" (RadioDiff, Sec. V-D): the squared error."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        super().__init__(config, validation, build_network(config))
        self.phases = [Phase("uvmnet", SquaredError(self.averaged), config.optimizer)]


class RMEGANTask(BaselineTask):
    """RME-GAN: discriminator and generator in turn."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        assert isinstance(config.model, RMEGANSettings)
        generator = build_network(config)
        super().__init__(config, validation, generator)
        discriminator = Discriminator(
            generator.config.in_channels, config.model.discriminator_width
        )
        self.phases = [
            Phase(
                "discriminator",
                Discrimination(generator, discriminator),
                config.model.discriminator_optimizer,
            ),
            Phase(
                "generator", Generation(generator, discriminator, config.model), config.optimizer
            ),
        ]


def build_network(config: BaselineExperiment) -> ModelMixin:
    """Build the untrained network of an experiment."""
    channels = len(config.data.prompt_features) + (config.measurements is not None)
    model = config.model
    if isinstance(model, RadioUNetSettings):
        return RadioUNet(channels, model.first_widths, model.second_widths, model.head_widths)
    if isinstance(model, UVMNetSettings):
        return UVMNet(channels, model.widths, model.grid, model.states, model.hidden)
    return RMEGANGenerator(channels, model.widths, model.head_width)


def train_baseline(config: BaselineExperiment, resume: bool) -> None:
    """Train a baseline and export it to ``model`` in the run directory.

    Args:
        config: the experiment.
        resume: go on with a run that was stopped.

    Raises:
        InputError: as :func:`radiodiff.training.engine.train`.
    """
    if isinstance(config.model, RadioUNetSettings):
        first = config.model_copy(update={"output": config.output / FIRST_UNET})
        train_stage(first, FirstUNetTask, resume)
        if (newest_step(first.output / "checkpoints") or 0) < config.train.steps:
            return  # stopped on request
        network = RadioUNet.from_pretrained(first.output / "model")
        second = config.model_copy(update={"start_from": None})  # the first began from both
        train_stage(second, partial(SecondUNetTask, network=network), resume)
    elif isinstance(config.model, UVMNetSettings):
        train_stage(config, UVMNetTask, resume)
    else:
        train_stage(config, RMEGANTask, resume)


def draw_measurements(
    gain: Tensor, buildings: Tensor, settings: MeasurementSettings, generator: torch.Generator
) -> Measurements:
    """Measure one map.

    Args:
        gain: (1, H, W), model range.
        buildings: (1, H, W) bool.
        settings: ranges that ratio and noise are drawn from.
        generator: source of ratio, noise level, mask and noise.

    Raises:
        InputError: a ratio that the blocks off buildings do not suffice for.
    """
    ratio, noise_std = (
        low + (high - low) * float(torch.rand((), generator=generator))
        for low, high in (settings.missing_ratio, settings.noise_std)
    )
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    layout = buildings[0].numpy()
    if settings.kind == "pixel":
        mask = pixel_mask(layout.shape, ratio, rng, layout if settings.aware else None)
    else:
        mask = block_mask(layout.shape, ratio, rng, layout, settings.aware)
    measured = measure(gain[None], torch.from_numpy(mask)[None, None], noise_std, generator)
    return measured.with_buildings(buildings[None]) if settings.aware else measured


def _input(batch: Item) -> Tensor:
    return network_input(batch["prompt"], _samples(batch))


def _samples(batch: Item) -> tuple[Tensor, Tensor] | None:
    return (batch["values"], batch["mask"]) if "mask" in batch else None


def _parts(measurements: Measurements | None) -> tuple[Tensor, Tensor] | None:
    return None if measurements is None else (measurements.values, measurements.mask)


def _squared_error(gray: Tensor, batch: Item) -> Tensor:
    return functional.mse_loss(gray.float(), model_to_gray(batch["gain"]))
