"""The configuration of each training script, and what turns one into a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from torch import nn

from radiodiff.data.gain_files import is_saturated, read_gain
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.fourier import resized_filters
from radiodiff.processes import join_processes
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.engine import train
from radiodiff.training.latents import LatentMaps
from radiodiff.training.prompt_channels import match_prompt_channels, trained_features
from radiodiff.training.resuming import open_training_directory
from radiodiff.training.settings import (
    Experiment,
    LDMExperiment,
)
from radiodiff.training.stream import MapDataset
from radiodiff.training.trainer import Task
from radiodiff.weight_sources import find_weights

MAPS_LOOKED_AT = 8
"""Training maps that are read to see whether the levels make sense."""
ExperimentT = TypeVar("ExperimentT", bound="Experiment")


def open_datasets(config: Experiment) -> tuple[RadioMapSeer, RadioMapSeer]:
    """Open the training and validation maps.

    Raises:
        InputError: see :func:`radiodiff.data.radiomapseer.build_dataset`; or fewer validation maps
            than ``train.validation_maps``, augmentation of maps that are not square, or maps
            smaller than ``train.window``.
    """
    training, validation = (build_dataset(config.data, part) for part in ("train", "val"))
    if len(validation) < config.train.validation_maps:
        raise InputError(
            f"train.validation_maps: found {config.train.validation_maps}, the validation part has "
            f"{len(validation)}"
        )
    height, width = training.shape
    window = config.train.window
    if window is not None and window > min(height, width):
        raise InputError(f"train.window: found {window}, the maps have {height} x {width} pixels")
    if config.train.augment and window is None and height != width:
        raise InputError(
            f"train.augment: maps of {height} x {width} cannot be turned by 90 degrees; set it to "
            "false, or set train.window"
        )
    looked_at = range(0, len(training), -(-len(training) // MAPS_LOOKED_AT))
    saturated = [
        training.name(i)
        for i in looked_at
        if is_saturated(read_gain(training.gain_file(i), training.shape, training.scale))
    ]
    if saturated:
        print(
            f"warning: {training.gain_folder}: {len(saturated)} of {len(looked_at)} maps, such as "
            f"{saturated[0]}, are saturated; divide levels of 16 bits by 257 instead of cutting "
            "them, or leave them as they are",
            file=sys.stderr,
        )
    return training, validation


def train_stage(
    config: ExperimentT, build: Callable[[ExperimentT, RadioMapSeer], Task], resume: bool
) -> None:
    """Open the maps, build a stage and train it.

    Args:
        config: the experiment.
        build: returns the stage, given its configuration and the validation maps. The initial
            weights follow from ``train.seed`` alone, or are those of ``start_from``.
        resume: go on with a run that was stopped.

    Raises:
        InputError: see :func:`open_datasets`, :func:`radiodiff.training.engine.train` and
            :class:`radiodiff.training.latents.LatentMaps`; or ``start_from`` does not fit.
    """
    training, validation = open_datasets(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        task = build(config, validation)
    begins = newest_step(config.output / "checkpoints") is None
    if config.start_from is not None and begins:
        copy_weights(config.start_from, task.averaged, config.data.prompt_features)
    run_experiment(config, task, training, resume)


def copy_weights(
    directory: Path, network: nn.Module, prompt_features: Sequence[str] | None = None
) -> None:
    """Copy the weights that ``save_pretrained`` wrote into a network of the same class and sizes.

    Filters that belong to maps of another size are resized, as at inference.

    Args:
        directory: folder of the weights. Where a pipeline beside it names its prompt features,
            those of a denoiser are matched with ``prompt_features``.
        network: takes the weights.
        prompt_features: channels of the prompt that a denoiser is to see; None are the same.

    Raises:
        InputError: the folder holds no such network.
    """
    directory = find_weights(directory)
    try:
        source = type(network).from_pretrained(directory)  # type: ignore[attr-defined]
        weights = source.state_dict() | resized_filters(source, network)
        known = trained_features(directory)
        if isinstance(network, DecoupledUNet) and prompt_features is not None and known is not None:
            weights = match_prompt_channels(weights, known, prompt_features)
        network.load_state_dict(weights)
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"start_from: {directory} holds no {type(network).__name__} of these sizes ({reason})"
        ) from None


def run_experiment(config: Experiment, task: Task, maps: RadioMapSeer, resume: bool) -> None:
    """Open the run directory and train ``task`` on ``maps``; see :func:`train_stage`."""
    training: MapDataset = maps
    if isinstance(config, LDMExperiment) and config.latents is not None:
        training = LatentMaps(maps, config.latents, config.vae, config.train.augment)
    directory = config.output
    state, notes = join_processes(), []
    if state.is_main_process:
        notes = open_training_directory(config, maps)
    state.wait_for_everyone()
    if config.train.num_workers and config.data.cache:
        maps.preload()  # before the workers start, so that they share one copy
    experiment = config.model_dump(mode="json")
    train(task, training, config.train, directory, experiment, resume, notes)
