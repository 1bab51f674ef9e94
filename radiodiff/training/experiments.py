"""The configuration of each training script, and what turns one into a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field, model_validator
from torch import nn

from radiodiff.cli import open_run_directory
from radiodiff.config import Settings
from radiodiff.data.radiomapseer import DataConfig, RadioMapSeer, build_dataset
from radiodiff.diffusion.decoupled import DecoupledSettings
from radiodiff.errors import InputError
from radiodiff.inverse.prior import Prediction
from radiodiff.models.condition import PromptEncoder
from radiodiff.models.denoiser import Preconditioning
from radiodiff.models.vae import VAELossSettings, VAESettings
from radiodiff.processes import join_processes
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.engine import train
from radiodiff.training.latents import LatentMaps
from radiodiff.training.noise_levels import NoiseLevels
from radiodiff.training.settings import OptimizerSettings, TrainSettings
from radiodiff.training.stream import MapDataset
from radiodiff.training.trainer import Task

ExperimentT = TypeVar("ExperimentT", bound="Experiment")

MAY_DIFFER_ON_RESUME = (
    "output",
    "latents",
    "train.steps",
    "train.accumulation",
    "train.checkpoint_activations",
    "train.compile",
    "train.shard",
    "train.num_workers",
    "train.log_every",
    "train.spike_factor",
    "train.histogram_every",
    "train.validate_every",
    "train.checkpoint_every",
    "train.keep_last",
    "train.keep_every",
)
"""Keys that may be changed when a run goes on: none changes what a step computes, but for rounding
and for the length, which moves the end of the learning-rate schedule."""


class Experiment(Settings):
    """What every training run has."""

    output: Path
    """Run directory: config.yaml, metrics.jsonl, tensorboard/, checkpoints/, model/."""
    data: DataConfig
    train: TrainSettings
    optimizer: OptimizerSettings
    start_from: Path | None = None
    """A network of the same sizes whose weights are the initial ones, to tune it to other maps: the
    folder of one ``config.json``, such as data/pretrained/radiodiff-small/denoiser."""


class VAEExperiment(Experiment):
    """Stage one of RadioDiff: the KL autoencoder (``scripts/train_vae.py``)."""

    model: VAESettings
    loss: VAELossSettings
    discriminator_optimizer: OptimizerSettings


class DenoiserSettings(Settings):
    """Sizes of the attention U-Net; see :class:`radiodiff.models.denoiser.DecoupledUNet`."""

    dim: int = Field(ge=8)
    dim_mults: tuple[int, ...] = Field(min_length=2)
    prompt_encoder: PromptEncoder
    prompt_weights: str | None = None
    """Weights of a Swin encoder: null, a local file, or a torchvision name (IMAGENET1K_V1)."""
    prompt_width: int | None = Field(None, ge=8)
    patch_size: int = Field(1, ge=1)
    window_sizes: tuple[int, ...]
    aft: bool
    """Adaptive FFT filter on the bottleneck of both decoders, eqs. (22)-(23)."""
    fourier_scale: float = Field(16.0, gt=0)
    preconditioning: Preconditioning = "released"


class LDMExperiment(Experiment):
    """Stage two of RadioDiff: the decoupled latent diffusion (``scripts/train_ldm.py``)."""

    vae: Path
    """What stage one exported: the folder ``model`` of its run directory."""
    latents: Path | None = None
    """What scripts/encode_latents.py wrote of the training maps; null encodes on the fly."""
    latent_scale: float | None = Field(gt=0)
    """Factor on the latents (0.3 in the released code); null measures it on the validation maps so
    that latents have unit variance."""
    model: DenoiserSettings
    diffusion: DecoupledSettings
    sampling_steps: int = Field(ge=1)
    """Sampler steps of the maps generated for validation."""
    zero_buildings: bool = False
    """Have the pipeline set building interiors to gray 0, as RadioMapSeer does."""


class PriorSettings(Settings):
    """Sizes of the unconditional prior; see :class:`radiodiff.inverse.prior.PatchUNet`."""

    patch_size: int = Field(ge=1)
    block_out_channels: tuple[int, ...] = Field(min_length=1)
    layers_per_block: int = Field(ge=1)
    attention: bool
    norm_num_groups: int = Field(16, ge=1)
    level_map: bool = False
    """The network takes a noise level for every pixel, which ``sampler.method: fixed_level``
    needs."""


class PriorExperiment(Experiment):
    """The unconditional DDPM prior of RadioDiff-Inverse (``scripts/train_prior.py``)."""

    model: PriorSettings
    num_train_timesteps: int = Field(1000, ge=2)
    prediction_type: Prediction = "epsilon"
    """What the network predicts: ``epsilon`` (the paper's prior) or ``v_prediction``, which weighs
    all noise levels evenly and suits bfloat16."""
    noise_levels: NoiseLevels = "uniform"
    """Levels trained at: every timestep alike, as in DDPM, or ln(sigma) normal with mean -1.2 and
    standard deviation 1.2 (Karras et al., 2022, table 1), for priors that will see dense samples:
    with the paper's schedule 70 % of the timesteps hold more noise than signal. With
    ``model.level_map`` 85 % of the samples have cleaner pixels among the others."""

    @model_validator(mode="after")
    def _level_map_predicts_velocity(self) -> PriorExperiment:
        if self.model.level_map and self.prediction_type != "v_prediction":
            raise ValueError("model.level_map goes with prediction_type v_prediction")
        return self


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume`` to a training script."""
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest complete checkpoint"
    )


def open_datasets(config: Experiment) -> tuple[RadioMapSeer, RadioMapSeer]:
    """Open the training and validation maps.

    Raises:
        InputError: see :func:`radiodiff.data.radiomapseer.build_dataset`; or fewer validation maps
            than ``train.validation_maps``, or augmentation of maps that are not square.
    """
    training, validation = (build_dataset(config.data, part) for part in ("train", "val"))
    if len(validation) < config.train.validation_maps:
        raise InputError(
            f"train.validation_maps: found {config.train.validation_maps}, the validation part has "
            f"{len(validation)}"
        )
    if config.train.augment and training.shape[0] != training.shape[1]:
        raise InputError(
            f"train.augment: maps of {training.shape[0]} x {training.shape[1]} cannot be turned by "
            "90 degrees; set it to false"
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
        copy_weights(config.start_from, task.averaged)
    run_experiment(config, task, training, resume)


def copy_weights(directory: Path, network: nn.Module) -> None:
    """Copy the weights that ``save_pretrained`` wrote into a network of the same class and sizes.

    Raises:
        InputError: the folder holds no such network.
    """
    try:
        weights = type(network).from_pretrained(directory).state_dict()  # type: ignore[attr-defined]
        network.load_state_dict(weights)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
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
    state = join_processes()
    if state.is_main_process:
        open_run_directory(directory, config, MAY_DIFFER_ON_RESUME)
    state.wait_for_everyone()
    if config.train.num_workers and config.data.cache:
        maps.preload()  # before the workers start, so that they share one copy
    train(task, training, config.train, directory, config.model_dump(mode="json"), resume)
