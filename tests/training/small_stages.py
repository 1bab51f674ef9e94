"""The real stages at the smallest sizes, run the way their scripts do.

As a script: ``small_stages.py STAGE ROOT OUTPUT KEY=VALUE ...`` goes on with the run in OUTPUT, if
there is one, and gives the keys to its train section. DIE_IN_WRITE=n kills the process in the n-th
file it syncs to disk, which is inside the writing of a checkpoint. JOIN=[r, n, port] makes it
process r of n.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from radiodiff.training import checkpoints, experiments
from radiodiff.training.settings import Experiment, LDMExperiment, PriorExperiment, VAEExperiment
from radiodiff.training.tasks import LDMTask, PriorTask, VAETask

OPTIMIZER = {
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-4,
    "schedule": "cosine",
    "warmup_steps": 2,
    "weight_decay": 1e-4,
    "gradient_clip": 1.0,
}
TRAIN = {
    "batch_size": 2,
    "precision": "fp32",
    "seed": 0,
    "ema": {"decay": 0.5, "every": 2},
    "log_every": 1,
    "validate_every": 10,
    "validation_maps": 2,
    "checkpoint_every": 2,
}
STAGES: dict[str, tuple[type[Experiment], Any, dict[str, Any]]] = {
    "vae": (
        VAEExperiment,
        VAETask,
        {
            "model": {
                "widths": [8, 8],
                "layers_per_block": 1,
                "norm_groups": 4,
                "mid_attention": False,
            },
            "loss": {
                "perceptual": "none",
                "discriminator_start": 8,
                "discriminator_width": 4,
                "discriminator_layers": 1,
            },
            "discriminator_optimizer": OPTIMIZER,
        },
    ),
    "ldm": (
        LDMExperiment,
        LDMTask,
        {
            "latent_scale": None,
            "model": {
                "dim": 8,
                "dim_mults": [1, 1],
                "prompt_encoder": "convolutional",
                "window_sizes": [2, 1],
                "aft": True,
            },
            "diffusion": {"loss": "released"},
            "sampling_steps": 1,
        },
    ),
    "prior": (
        PriorExperiment,
        PriorTask,
        {
            "model": {
                "patch_size": 2,
                "block_out_channels": [32],
                "layers_per_block": 1,
                "attention": False,
            },
            "num_train_timesteps": 50,
        },
    ),
}


def train_stage(stage: str, root: Path, output: Path, **train: Any) -> None:
    """Train ``stage`` as :func:`experiment` configures it, or go on."""
    experiments.train_stage(
        experiment(stage, root, output, train=TRAIN | train), STAGES[stage][1], resume=True
    )


def experiment(stage: str, root: Path, output: Path, **changes: Any) -> Experiment:
    """Configure ``stage`` on maps 1 and 2 of the tree ``root``; the VAE of "ldm" lies beside it."""
    model, _, values = STAGES[stage]
    common = {
        "output": output,
        "data": {"root": root, "split": "explicit", "maps": {"train": [1, 2], "val": [3]}},
        "optimizer": OPTIMIZER,
    }
    if stage == "ldm":
        common["vae"] = root / "vae"
    return model.model_validate(common | values | changes)


def die_in_write(number: int) -> None:
    """Make the ``number``-th call of os.fsync kill the process."""
    calls = iter(range(1, number + 1))

    def sync(path: Path) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoints._sync = sync


def join(process: int, processes: int, port: int) -> None:
    """Set what torchrun sets."""
    os.environ.update(
        RANK=str(process),
        LOCAL_RANK=str(process),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )


def main(stage: str, root: str, output: str, *settings: str) -> None:
    torch.set_num_threads(1)
    options = {key: yaml.safe_load(value) for key, value in (s.split("=", 1) for s in settings)}
    if "DIE_IN_WRITE" in options:
        die_in_write(options.pop("DIE_IN_WRITE"))
    if "JOIN" in options:
        join(*options.pop("JOIN"))
    train_stage(stage, Path(root), Path(output), **options)


if __name__ == "__main__":
    main(*(globals().get("ARGUMENTS") or sys.argv[1:]))
