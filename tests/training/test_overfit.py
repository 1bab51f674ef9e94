"""Nothing trains silently wrong: four maps are learned by heart."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from radiodiff.training.experiments import train_stage
from radiodiff.training.settings import LDMExperiment, VAEExperiment
from radiodiff.training.tasks import LDMTask, VAETask


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Path:
    """Four maps of 64 x 64, as map 1 to learn and, the same, as map 2 to be scored."""
    root = write_radio_maps(
        tmp_path_factory.mktemp("tree"), maps=(1,), transmitters=4, shape=(64, 64)
    )
    for file in [*root.rglob("1_*"), *root.rglob("1.*")]:
        shutil.copy(file, file.with_name("2" + file.name[1:]))
    return root


def common(tree: Path, output: Path, steps: int) -> dict[str, Any]:
    optimizer = {
        "learning_rate": 3e-3,
        "final_learning_rate": 6e-5,
        "schedule": "cosine",
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "gradient_clip": 1.0,
    }
    return {
        "output": output,
        "data": {"root": tree, "split": "explicit", "maps": {"train": [1], "val": [2]}},
        "optimizer": optimizer,
        "train": {
            "steps": steps,
            "batch_size": 4,
            "precision": "fp32",
            "channels_last": True,
            "augment": False,
            "seed": 0,
            "ema": {"decay": 0.95},
            "log_every": steps,
            "validate_every": steps,
            "validation_maps": 4,
            "checkpoint_every": steps,
        },
    }


def scores(run: Path) -> dict[str, float]:
    """Return the last line, which is that of the validation."""
    last: dict[str, float] = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return last


@pytest.fixture(scope="module")
def autoencoder(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run of stage one."""
    values = common(tree, tmp_path_factory.mktemp("vae"), steps=700)
    values |= {
        "model": {
            "widths": [16, 32],
            "layers_per_block": 1,
            "latent_channels": 3,
            "norm_groups": 8,
            "mid_attention": False,
        },
        "loss": {"perceptual": "none", "discriminator_weight": 0.0},
        "discriminator_optimizer": values["optimizer"],
    }
    config = VAEExperiment.model_validate(values)
    train_stage(config, VAETask, resume=False)
    return config.output


@pytest.mark.slow
def test_the_autoencoder_learns_four_maps_by_heart(autoencoder: Path) -> None:
    assert scores(autoencoder)["validation/psnr"] > 45.0


@pytest.mark.slow
def test_the_latent_diffusion_learns_four_maps_by_heart(
    tree: Path, autoencoder: Path, tmp_path: Path
) -> None:
    # The maps differ by their transmitter alone: one prompt pixel, which takes far longer to be
    # noticed than the distance to it.
    values = common(tree, tmp_path, steps=200)
    values["data"]["prompt_features"] = ["buildings", "transmitter", "vehicles", "distance"]
    values["optimizer"] |= {"learning_rate": 1e-3, "final_learning_rate": 2e-5}
    values["train"]["batch_size"] = 8
    values |= {
        "vae": autoencoder / "model",
        "latent_scale": None,
        "model": {
            "dim": 16,
            "dim_mults": [1, 2],
            "prompt_encoder": "convolutional",
            "window_sizes": [4, 2],
            "aft": True,
        },
        "diffusion": {"mode": "mean"},
        "sampling_steps": 5,
    }
    config = LDMExperiment.model_validate(values)
    train_stage(config, LDMTask, resume=False)
    assert scores(config.output)["validation/score"] < 0.002
