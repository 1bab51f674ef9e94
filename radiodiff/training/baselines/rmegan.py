"""RME-GAN: discriminator and generator in turn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.rmegan import (
    Discriminator,
    RMEGANGenerator,
    adversarial_loss,
    generator_loss,
)
from radiodiff.training.baselines.common import (
    Baseline,
    BaselineTask,
    input_channels,
    measured,
    model_input,
)
from radiodiff.training.baselines.settings import BaselineExperiment, RMEGANSettings
from radiodiff.training.experiments import train_stage
from radiodiff.training.scoring import without_gradients
from radiodiff.training.stream import Item
from radiodiff.training.trainer import Phase
from radiodiff.units import model_to_gray


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
        x = model_input(batch)
        gray = self.generator(x)
        samples = measured(batch)
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
        x = model_input(batch)
        with torch.no_grad():
            gray = generator(x)
        real = self.discriminator(model_to_gray(batch["gain"]), x).float()
        fake = self.discriminator(gray, x).float()
        loss = (adversarial_loss(real, real=True) + adversarial_loss(fake, real=False)) / 2
        return loss, {"logits_real": real.detach().mean(), "logits_fake": fake.detach().mean()}


class RMEGANTask(BaselineTask):
    """RME-GAN: discriminator and generator in turn."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        assert isinstance(config.model, RMEGANSettings)
        generator = _build(config)
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


def _build(config: BaselineExperiment) -> RMEGANGenerator:
    settings = config.model
    assert isinstance(settings, RMEGANSettings)
    return RMEGANGenerator(input_channels(config), settings.widths, settings.head_width)


def _train(config: BaselineExperiment, resume: bool) -> None:
    train_stage(config, RMEGANTask, resume)


BASELINE = Baseline(RMEGANSettings, _build, _train)
