"""From an entry of the configuration to a method that runs, and to what identifies its results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.evaluation.predictions import find_predictions, read_prediction
from radiodiff.experiments.batches import MapBatch
from radiodiff.experiments.fingerprints import (
    custom_files,
    digest_files,
    digest_folder,
    digest_of,
)
from radiodiff.experiments.methods import Method, load_method
from radiodiff.experiments.precision import resolve_dtype
from radiodiff.experiments.reproduce.settings import MethodEntry, ReproduceConfig
from radiodiff.experiments.reproduce.training import load_stage, train_method
from radiodiff.experiments.settings import MethodSettings, SamplingSettings
from radiodiff.plugins import import_modules
from radiodiff.simulate.tree import MANIFEST
from radiodiff.weight_sources import find_weights


@dataclass(frozen=True)
class Source:
    """Where a method's maps come from, ready to be loaded.

    Attributes:
        settings: how it is loaded; None for a folder of predicted maps.
        predictions: that folder.
        digest: of the weights, of the predicted maps or of the code of the method.
        description: for the reader of a table.
    """

    settings: MethodSettings | None
    predictions: Path | None
    digest: str
    description: str

    @property
    def identity(self) -> dict[str, Any]:
        """What the predicted maps follow from, besides data, scenario and seed."""
        # Weights are known by content: the same ones in another folder are the same method.
        if self.settings is None:
            return {"digest": self.digest, "sampling": {}}
        dtype = resolve_dtype(self.settings.dtype, self.settings.device)
        sampling = self.settings.model_dump(exclude={"source", "device"}) | {"dtype": str(dtype)}
        return {"digest": self.digest, "sampling": sampling}

    def load(self) -> Method:
        """Load the method.

        Raises:
            InputError: its source cannot be loaded.
        """
        if self.settings is not None:
            return load_method(self.settings)
        assert self.predictions is not None
        return _read_from(self.predictions)


def find_source(entry: MethodEntry, config: ReproduceConfig) -> Source:
    """Train what is missing and say where the method's maps come from.

    Raises:
        InputError: a folder is missing, or training cannot run.
    """
    if entry.predictions is not None:
        files = find_predictions(entry.predictions)
        digest = digest_files(files.values())
        return Source(None, entry.predictions, digest, f"maps predicted in {entry.predictions}")
    sampling = {name: getattr(entry, name) for name in SamplingSettings.model_fields}
    if entry.source is not None:
        settings = MethodSettings(source=entry.source, device=config.device, **sampling)
        directory = find_weights(entry.source)
        if not directory.is_dir():
            return _custom(settings, entry)
    else:
        directory = train_method(entry, config)
        settings = MethodSettings(source=str(directory), device=config.device, **sampling)
    precision = str(resolve_dtype(settings.dtype, settings.device)).removeprefix("torch.")
    description = f"{_describe_weights(directory)}, in {precision}"
    return Source(settings, None, digest_folder(directory), description)


def is_simulated(root: Path) -> bool:
    """Whether a tree was written by scripts/simulate.py."""
    return (root / MANIFEST).is_file()


def check_names(config: ReproduceConfig) -> None:
    """Import every custom method of a comparison, and read every training configuration.

    So a mistyped name is found before anything is simulated or trained.

    Raises:
        InputError: a module cannot be imported, or a configuration cannot be read.
    """
    import_modules(config.imports)
    entries = [
        entry
        for variants in (*config.methods.values(), *config.own_methods.values())
        for entry in variants.values()
        if entry.predictions is None
    ]
    for entry in entries:
        if entry.source is not None and not find_weights(entry.source).is_dir():
            load_method(MethodSettings(source=entry.source, device=config.device))
    for entry in entries:
        if entry.source is None:
            for stage in entry.train:
                load_stage(stage, config, None)


def _custom(settings: MethodSettings, entry: MethodEntry) -> Source:
    """Digest the files that a custom function, or a registered method, follows from."""
    files = custom_files(load_method(settings).predict)
    for path in entry.files:
        if not path.exists():
            raise InputError(f"files: {path} does not exist")
        files += [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    names = ", ".join(f"`{path.name}`" for path in files)
    digest = digest_of([settings.source, digest_files(files)])
    followed = f", follows from {names}" if names else ""
    return Source(settings, None, digest, f"`{settings.source}`{followed}")


def _describe_weights(directory: Path) -> str:
    """Say what a run directory around weights tells of their training."""
    described = f"`{directory}`"
    resolved = directory.parent / "config.yaml"
    if not resolved.is_file():
        return f"{described}, training not known"
    values = yaml.safe_load(resolved.read_text(encoding="utf-8"))
    try:
        root, steps = Path(values["data"]["root"]), values["train"]["steps"]
        batch_size = values["train"]["batch_size"]
    except (KeyError, TypeError):
        return f"{described}, training not known"
    kind = "SIMULATED maps" if is_simulated(root) else "maps"
    return f"{described}, {steps} steps of {batch_size} on {kind} of `{root}`"


def _read_from(folder: Path) -> Method:
    files = find_predictions(folder)

    def predict(batch: MapBatch) -> Tensor:
        missing = [name for name in batch.names if name not in files]
        if missing:
            raise InputError(f"{folder}: no prediction of {missing[0]}")
        maps = [read_prediction(files[name], batch.shape) for name in batch.names]
        return torch.stack([torch.from_numpy(gray) for gray in maps])

    return Method(predict, ())
