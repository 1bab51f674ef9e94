"""UVM-Net, "trained as RadioUNet" (RadioDiff, Sec. V-D): the squared error."""

from __future__ import annotations

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.baselines.uvmnet import UVMNet
from radiodiff.training.baselines.common import Baseline, BaselineTask, SquaredError, input_channels
from radiodiff.training.baselines.settings import BaselineExperiment, UVMNetSettings
from radiodiff.training.experiments import train_stage
from radiodiff.training.trainer import Phase


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
