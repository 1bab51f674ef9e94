"""What may change when a training run goes on, and what is said about it."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

from tqdm import tqdm

from radiodiff.cli import config_changes, open_run_directory
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError
from radiodiff.files import write_json
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.settings import Experiment

MAPS = "maps.json"
"""File of a run directory that identifies the training maps."""
CHANGES_NO_STEP = (
    "output",
    "latents",
    "data.cache",
    "data.prompt_cache",
    "train.steps",
    "train.accumulation",
    "train.checkpoint_activations",
    "train.compile",
    "train.shard",
    "train.num_workers",
    "train.trackers",
    "train.log_every",
    "train.spike_factor",
    "train.histogram_every",
    "train.validate_every",
    "train.checkpoint_every",
    "train.keep_last",
    "train.keep_every",
)
"""Keys that change nothing of what a step computes, but for rounding and for the length, which
moves the end of the learning-rate schedule."""
_OF_OPTIMIZERS = ("learning_rate", "final_learning_rate", "gradient_clip")
NOTED = (
    "train.precision",
    "train.batch_size",
    "train.validation_maps",
    *(
        f"{optimizer}.{key}"
        for optimizer in (
            "optimizer",
            "discriminator_optimizer",
            "model.discriminator_optimizer",
        )
        for key in _OF_OPTIMIZERS
    ),
)
"""Keys that an error may advise to change. They change the steps from here on, so a change is
said, and written to metrics.jsonl."""


def open_training_directory(config: Experiment, maps: RadioMapSeer) -> list[str]:
    """Create the run directory with ``config.yaml`` and ``maps.json``, or check the run in it.

    A folder without a complete checkpoint holds no run, so any configuration may begin there. The
    maps of a run may lie elsewhere than before if they are the same.

    Returns:
        One line for each change of a key in :data:`NOTED`.

    Raises:
        InputError: the folder cannot be written, or holds a run of another configuration or of
            other maps.
    """
    directory = config.output
    changes = config_changes(directory, config)
    if newest_step(directory / "checkpoints") is None:
        open_run_directory(directory, config, tuple(changes))
        write_json(directory / MAPS, _identity(maps))
        return []
    if "data.root" in changes and _read(directory / MAPS) != _identity(maps):
        raise InputError(
            f"data.root: {config.data.root} holds other maps than {changes['data.root'][0]}, "
            f"on which the run in {directory} began; choose another output"
        )
    open_run_directory(directory, config, (*CHANGES_NO_STEP, *NOTED, "data.root"))
    notes = [f"{key} was {was}, now {now}" for key, (was, now) in changes.items() if key in NOTED]
    for note in notes:
        tqdm.write(f"warning: {directory} goes on with another setting: {note}")
    return notes


def _read(file: Path) -> object:
    """Return the value of a JSON file, or None where there is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _identity(maps: RadioMapSeer) -> dict[str, object]:
    """Return what tells a set of maps from others: names, size, and the content of the first."""
    names = "\n".join(maps.name(index) for index in range(len(maps)))
    return {
        "count": len(maps),
        "size": list(maps.shape),
        "names": hashlib.sha256(names.encode()).hexdigest(),
        "first": zlib.crc32(maps.gain_file(0).read_bytes()),
    }
