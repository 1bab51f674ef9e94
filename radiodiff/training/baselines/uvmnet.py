"""UVM-Net, "trained as RadioUNet" (RadioDiff, Sec. V-D): the squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.uvmnet import UVMNet
from radiodiff.training.baselines.common import Baseline, BaselineTask, SquaredError, input_channels
from radiodiff.training.baselines.settings import BaselineSettings
from radiodiff.training.experiments import train_stage
from radiodiff.training.trainer import Phase

if TYPE_CHECKING:
    from radiodiff.training.baselines.experiment import BaselineExperiment


class UVMNetSettings(BaselineSettings):
    """UVM-Net; the defaults are the authors' sizes (1004 M parameters)."""

    name: Literal["uvmnet"]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    """Channels of the levels; the last two are equal."""
    grid: int = Field(64, ge=2)
    """Rows and columns on which the Bi-SSM blocks work."""
    states: int = Field(16, ge=1)
    """States of every scan."""
    hidden: int = Field(16, ge=1)
    """Channels between the first two convolutions of a block."""


class UVMNetTask(BaselineTask):
    """UVM-Net, "trained as RadioUNet" (RadioDiff, Sec. V-D): the squared error."""

    def __init__(self, config: BaselineExperiment, validation: RadioMapSeer) -> None:
        super().__init__(config, validation, _build(config))
        self.phases = [Phase("uvmnet", SquaredError(self.averaged), config.optimizer)]


def _build(config: BaselineExperiment) -> UVMNet:
    settings = config.model
    assert isinstance(settings, UVMNetSettings)
    return UVMNet(
        input_channels(config), settings.widths, settings.grid, settings.states, settings.hidden
    )


def _train(config: BaselineExperiment, resume: bool) -> None:
    train_stage(config, UVMNetTask, resume)


BASELINE = Baseline(UVMNetSettings, _build, _train)
