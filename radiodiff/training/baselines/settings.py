"""Which baseline is trained, its sizes, and the measurements it is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from radiodiff.config import Settings
from radiodiff.data.prompts import MEASURED_FEATURE
from radiodiff.models.baselines.settings import FIRST_PHASE, SECOND_PHASE, GeneratorWeights
from radiodiff.training.settings import Experiment, MeasurementRanges, OptimizerSettings


class BaselineSettings(Settings):
    """Which network; a subclass sets the name to a literal and adds the sizes."""

    name: str
    """Selects the network."""


class RadioUNetSettings(BaselineSettings):
    """RadioUNet; the defaults are the authors' sizes (13.3 M parameters)."""

    name: Literal["radiounet"]
    """Selects this network."""
    first_widths: tuple[int, ...] = (6, 40, 50, 60, 100, 100, 150, 300, 500)
    """Channels of the nine encoder scales of the first U-Net."""
    second_widths: tuple[int, ...] = (20, 30, 40, 50, 60, 70, 90, 110, 150)
    """The same of the second."""
    head_widths: tuple[int, int] = (20, 20)
    """Channels before the last layer of either."""


class UVMNetSettings(BaselineSettings):
    """UVM-Net; the defaults are the authors' sizes (1004 M parameters)."""

    name: Literal["uvmnet"]
    """Selects this network."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    """Channels of the scales; the last two are equal."""
    grid: int = Field(64, ge=2)
    """Rows and columns on which the Bi-SSM blocks work."""
    states: int = Field(16, ge=1)
    """States of every scan."""
    hidden: int = Field(16, ge=1)
    """Channels between the first two convolutions of a block."""


class RMEGANSettings(BaselineSettings):
    """RME-GAN; the defaults are the authors' sizes and weights."""

    name: Literal["rmegan"]
    """Selects this network."""
    widths: tuple[int, ...] = (6, 40, 50, 60, 100, 100, 150, 300, 500)
    """Channels of the generator's nine encoder scales."""
    head_width: int = Field(20, ge=1)
    """Channels before its last layer."""
    discriminator_width: int = Field(64, ge=1)
    """Channels of the discriminator's first layer."""
    discriminator_optimizer: OptimizerSettings
    second_phase: int = Field(ge=0)
    """The step from which the weights of the second phase hold."""
    first_weights: GeneratorWeights = FIRST_PHASE
    """Weights of the generator's losses before it."""
    second_weights: GeneratorWeights = SECOND_PHASE
    """Weights of the generator's losses from it on."""


class BaselineExperiment(Experiment):
    """A learned baseline (``scripts/train_baseline.py``).

    RadioUNet is trained twice as long as ``train`` says: the first U-Net, in the folder
    ``first_unet`` of the run directory, and then the second.
    """

    model: Annotated[
        RadioUNetSettings | UVMNetSettings | RMEGANSettings, Field(discriminator="name")
    ]
    """The network, chosen by ``name``, and its sizes."""
    measurements: MeasurementRanges | None
    """What is measured of every map; null for a network that sees the prompt alone."""

    @model_validator(mode="after")
    def _own_channel(self) -> BaselineExperiment:
        if MEASURED_FEATURE in self.data.prompt_features:
            raise ValueError(
                f"data.prompt_features: {MEASURED_FEATURE} is a channel of RadioDiff; baselines "
                "take what the section measurements says"
            )
        return self
