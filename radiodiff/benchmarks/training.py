"""Speed of every training stage on this machine, and what a step's time goes into.

Each stage is what its configuration says, on images of noise, which compress worst, with the
engine's own loader, updates and checkpoints; only the data, the weights it starts from and the
batch are replaced.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from radiodiff.benchmarks import Size
from radiodiff.benchmarks.data import write_noise_tree
from radiodiff.config import Precision, load_config
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.models.vae import build_vae
from radiodiff.processes import open_accelerator
from radiodiff.training.baselines.radiounet import FirstUNetTask
from radiodiff.training.baselines.rmegan import RMEGANTask
from radiodiff.training.baselines.settings import BaselineExperiment
from radiodiff.training.checkpoints import CheckpointWriter
from radiodiff.training.engine import training_batches
from radiodiff.training.experiments import open_datasets
from radiodiff.training.latents import LatentMaps, encode_dataset
from radiodiff.training.settings import (
    EncodeConfig,
    Experiment,
    LDMExperiment,
    PriorExperiment,
    VAEExperiment,
)
from radiodiff.training.stream import MapDataset
from radiodiff.training.tasks import LDMTask, PriorTask, VAETask
from radiodiff.training.throughput import Clock
from radiodiff.training.trainer import Task, Trainer

BATCH: dict[Size, int] = {"small": 4, "paper": 1}
"""Maps in a step, few enough for two cores."""

WARM_UP = 1
"""Steps that are not counted: libraries choose their kernels in them."""
FEWEST = 3
"""Steps of a measurement at least."""


@dataclass(frozen=True)
class Stage:
    """A stage to measure: its configuration and what is changed in it."""

    label: str
    config: str
    model: type[Experiment]
    task: Callable[[Any, RadioMapSeer], Task]
    overrides: tuple[str, ...] = ()
    on_latents: bool = False


@dataclass(frozen=True)
class StageTiming:
    """What was measured of a stage.

    Attributes:
        label: the stage.
        precision: fp32 or bf16.
        batch_size: samples in a step.
        samples_per_second: rate of the loop, without checkpoints.
        operations: floating-point operations of a sample, forward and backward.
        data_wait_share: share of the time in which the loop waits for samples.
        optimizer_share: share that clipping, optimisers and the moving average take.
        checkpoint_seconds: how long one checkpoint holds the loop up.
        checkpoint_every: steps between two, as configured.
    """

    label: str
    precision: Precision
    batch_size: int
    samples_per_second: float
    operations: float
    data_wait_share: float
    optimizer_share: float
    checkpoint_seconds: float
    checkpoint_every: int

    @property
    def checkpoint_share(self) -> float:
        """Share of the run in which checkpoints delay the loop."""
        between = self.checkpoint_every * self.batch_size / self.samples_per_second
        return self.checkpoint_seconds / (between + self.checkpoint_seconds)


STAGES: dict[Size, tuple[Stage, ...]] = {
    "small": (
        Stage("VAE", "vae", VAEExperiment, VAETask),
        Stage(
            "VAE, discriminator on",
            "vae",
            VAEExperiment,
            VAETask,
            ("loss.discriminator_weight=0.5", "loss.discriminator_start=0"),
        ),
        Stage("LDM, encoding", "ldm", LDMExperiment, LDMTask, ("latents=null",)),
        Stage("LDM, on latents", "ldm", LDMExperiment, LDMTask, on_latents=True),
        Stage(
            "LDM, on latents, Muon",
            "ldm",
            LDMExperiment,
            LDMTask,
            ("optimizer.method=muon",),
            on_latents=True,
        ),
        Stage("prior", "prior", PriorExperiment, PriorTask),
    ),
    "paper": (
        Stage(
            "VAE, discriminator on",
            "vae_srm",
            VAEExperiment,
            VAETask,
            ("loss.perceptual=none", "loss.discriminator_start=0"),
        ),
        Stage(
            "LDM, on latents",
            "ldm_srm",
            LDMExperiment,
            LDMTask,
            ("model.prompt_weights=null",),
            on_latents=True,
        ),
        Stage(
            "RadioUNet, first U-Net",
            "radiounet_srm",
            BaselineExperiment,
            FirstUNetTask,
        ),
        Stage("RME-GAN", "rmegan_srm", BaselineExperiment, RMEGANTask),
    ),
}
"""The paper trains no prior: it takes one trained on ImageNet. LPIPS is left out, since its weights
are not shipped, and the discriminator is on, which is the slower part of the run."""


def benchmark_training(
    configs: Path, size: Size, seconds: float, labels: str = ""
) -> Iterator[StageTiming]:
    """Measure stages in float32 and then in bfloat16.

    Args:
        configs: the folder that holds ``small`` and ``paper``.
        size: which of them.
        seconds: of every measurement, at least.
        labels: measure the stages whose label begins so; all by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_noise_tree(work / "maps")
        autoencoder = load_config(
            configs / size / ("vae.yaml" if size == "small" else "vae_srm.yaml"), VAEExperiment
        )
        build_vae(**autoencoder.model.model_dump()).save_pretrained(work / "vae")
        for stage in STAGES[size]:
            if not stage.label.startswith(labels):
                continue
            for precision in ("fp32", "bf16"):
                config = _configure(stage, configs, size, work, precision)
                yield measure_stage(stage, config, work, seconds)


def measure_stage(stage: Stage, config: Experiment, work: Path, seconds: float) -> StageTiming:
    """Time updates of ``stage`` for ``seconds``, and then one checkpoint.

    Args:
        stage: names and builds it.
        config: its experiment.
        work: an empty folder, or one in which latents were written before.
        seconds: of the measurement, at least.
    """
    training, validation = open_datasets(config)
    maps: MapDataset = training
    if isinstance(config, LDMExperiment) and config.latents is not None:
        maps = _encode(config, work)
    training.preload()
    settings = config.train
    clock = Clock(settings.batch_size)
    run = Trainer(
        stage.task(config, validation), settings, open_accelerator(settings.precision), clock
    )
    batches = training_batches(run, maps, first_step=0)
    step = 0
    elapsed = 0.0
    while step < WARM_UP + FEWEST or elapsed < seconds:
        if step == WARM_UP:
            clock.rates()
            start = time.perf_counter()
        with clock.span("data_wait"):
            micro_batches = [run.place(next(batches)) for _ in range(settings.accumulation)]
        run.update(step, micro_batches, stop=False)
        clock.step()
        step += 1
        if step > WARM_UP:
            elapsed = time.perf_counter() - start
    rates = clock.rates()
    operations = run.operations(step, micro_batches) / settings.batch_size
    writer = CheckpointWriter(work / "checkpoints", keep_last=1, keep_every=None)
    start = time.perf_counter()
    writer.save(step, run.state())
    stall = time.perf_counter() - start
    writer.close()
    return StageTiming(
        stage.label,
        settings.precision,
        settings.batch_size,
        rates["samples_per_second"],
        operations,
        rates["data_wait_share"],
        rates["optimizer_share"],
        stall,
        settings.checkpoint_every,
    )


def _configure(
    stage: Stage, configs: Path, size: Size, work: Path, precision: Precision
) -> Experiment:
    overrides = [
        f"data.root={work / 'maps'}",
        "data.split=fraction",
        "data.fractions=[0.3,0.35,0.35]",
        f"output={work / 'run'}",
        f"train.precision={precision}",
        f"train.batch_size={BATCH[size]}",
        "train.num_workers=1",
        "train.validation_maps=1",
        *stage.overrides,
    ]
    if stage.model is LDMExperiment:
        overrides.append(f"vae={work / 'vae'}")
    if stage.on_latents:
        overrides.append(f"latents={work / 'latents'}")
    return load_config(configs / size / f"{stage.config}.yaml", stage.model, overrides)


def _encode(config: LDMExperiment, work: Path) -> LatentMaps:
    encode_dataset(
        EncodeConfig(
            output=work / "latents",
            vae=config.vae,
            data=config.data.model_copy(update={"prompt_features": ("buildings", "transmitter")}),
            augmented=config.train.augment,
            precision="bf16",
            batch_size=config.train.batch_size,
        ),
        torch.device("cpu"),
    )
    training, _ = open_datasets(config)
    return LatentMaps(training, work / "latents", config.vae, config.train.augment)
