"""From an entry of the configuration to a method that runs, and to what identifies its results."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.evaluation.predictions import find_predictions, read_prediction
from radiodiff.experiments.methods import MapBatch, Method, load_method
from radiodiff.experiments.reproduce.settings import MethodEntry, ReproduceConfig
from radiodiff.experiments.reproduce.training import train_method
from radiodiff.experiments.settings import MethodSettings, SamplingSettings
from radiodiff.simulate.tree import MANIFEST


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
        hidden = {"source", "device"}
        sampling = {} if self.settings is None else self.settings.model_dump(exclude=hidden)
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
        directory = Path(entry.source)
        if not directory.is_dir():
            digest, description = _code_digest(settings), f"`{entry.source}`"
            return Source(settings, None, digest, description)
    else:
        directory = train_method(entry, config)
        settings = MethodSettings(source=str(directory), device=config.device, **sampling)
    digest = digest_files(path for path in directory.rglob("*") if path.is_file())
    return Source(settings, None, digest, _describe_weights(directory))


def digest_files(files: Iterable[Path]) -> str:
    """Return a SHA-256 of names and contents, in hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(files):
        content = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        total.update(f"{path.name}\0{content.hexdigest()}\0".encode())
    return total.hexdigest()


def digest_of(value: object) -> str:
    """Return a short SHA-256 of what JSON can hold, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_simulated(root: Path) -> bool:
    """Whether a tree was written by scripts/simulate.py."""
    return (root / MANIFEST).is_file()


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register methods.

    Raises:
        InputError: one cannot be imported.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(f"imports: {name!r} cannot be imported ({error})") from None


def _code_digest(settings: MethodSettings) -> str:
    """Digest the file that a custom function, or of a registered method, is written in."""
    predict = load_method(settings).predict
    try:
        file = inspect.getsourcefile(predict)
    except TypeError:  # a callable object
        file = inspect.getsourcefile(type(predict))
    name = settings.source
    return digest_of([name, "" if file is None else Path(file).read_text(encoding="utf-8")])


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
        height, width = batch.prompt.shape[-2:]
        maps = [read_prediction(files[name], (height, width)) for name in batch.names]
        return torch.stack([torch.from_numpy(gray) for gray in maps])

    return Method(predict, ("buildings",))
