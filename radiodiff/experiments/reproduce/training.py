"""Trains what a comparison lacks, through the engine of the training scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from radiodiff.cli import open_run_directory
from radiodiff.config import load_config
from radiodiff.experiments.reproduce.settings import MethodEntry, ReproduceConfig, TrainingStage
from radiodiff.training.baselines.experiment import train_baseline
from radiodiff.training.baselines.settings import BaselineExperiment
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.decoder import DecoderTask
from radiodiff.training.experiments import train_stage
from radiodiff.training.resuming import CHANGES_NO_STEP
from radiodiff.training.settings import (
    DecoderExperiment,
    Experiment,
    LDMExperiment,
    PriorExperiment,
    VAEExperiment,
)
from radiodiff.training.tasks import LDMTask, PriorTask, VAETask

_EXPERIMENTS: dict[str, type[Experiment]] = {
    "vae": VAEExperiment,
    "ldm": LDMExperiment,
    "decoder": DecoderExperiment,
    "prior": PriorExperiment,
    "baseline": BaselineExperiment,
}
_TASKS: dict[str, Callable[..., Any]] = {
    "vae": VAETask,
    "ldm": LDMTask,
    "decoder": DecoderTask,
    "prior": PriorTask,
}
_TAKES = {"ldm": "vae", "decoder": "pipeline"}
"""The key of a stage that is given the weights of the stage before it."""
_SPLIT_KEYS = ("root", "split", "maps", "fractions")


def train_method(entry: MethodEntry, config: ReproduceConfig) -> Path:
    """Run the stages of a method that are not finished; return the folder of its weights.

    Raises:
        InputError: as the training scripts.
        KeyboardInterrupt: training was asked to stop; the same run goes on with it.
    """
    model = None
    for stage in entry.train:
        experiment = load_stage(stage, config, model)
        _train(stage, experiment)
        model = experiment.output / "model"
    assert model is not None
    return model


def load_stage(stage: TrainingStage, config: ReproduceConfig, before: Path | None) -> Experiment:
    """Load the configuration of a stage as a comparison changes it.

    Args:
        stage: the stage.
        config: the comparison.
        before: weights of the stage before it, which an ``ldm`` and a ``decoder`` take.

    Raises:
        InputError: the configuration cannot be read.
    """
    data = config.data.model_dump(mode="json")
    overrides = [f"data.{key}={json.dumps(data[key])}" for key in _SPLIT_KEYS]
    if config.runs is not None:
        overrides.append(f"output={json.dumps(str(config.runs / _run_name(stage)))}")
    if stage.stage in _TAKES and before is not None:
        overrides.append(f"{_TAKES[stage.stage]}={json.dumps(str(before))}")
    overrides += [*config.train_overrides, *stage.overrides]
    return load_config(stage.config, _EXPERIMENTS[stage.stage], overrides)


def _run_name(stage: TrainingStage) -> str:
    return stage.config.stem if stage.name is None else stage.name


def _train(stage: TrainingStage, experiment: Experiment) -> None:
    if _finished(experiment):
        return
    print(
        f"training {experiment.output}: {experiment.train.steps} steps of {stage.config}",
        flush=True,
    )
    if isinstance(experiment, BaselineExperiment):
        train_baseline(experiment, resume=True)
    else:
        train_stage(experiment, _TASKS[stage.stage], resume=True)
    if not _finished(experiment):
        raise KeyboardInterrupt


def _finished(experiment: Experiment) -> bool:
    """Whether the weights of all steps are there; those without a run are taken as they are.

    Raises:
        InputError: they are of another configuration.
    """
    output = experiment.output
    if not (output / "model").is_dir():
        return False
    if (output / "config.yaml").is_file():
        open_run_directory(output, experiment, CHANGES_NO_STEP)
    step = newest_step(output / "checkpoints")
    return step is None or step >= experiment.train.steps
