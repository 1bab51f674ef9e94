"""The cells of a comparison: one method on one scenario with one seed, predicted and scored once.

Predicted maps are kept as 8-bit images like the dataset's own, and the images are what is scored,
so that methods of ours and maps of others are treated alike. Both maps and scores lie in the cache
under a hash of what made them; a run that was killed goes on with the batch it was in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from radiodiff.cli import write_json
from radiodiff.data.images import read_levels
from radiodiff.data.measurements import Measurements
from radiodiff.data.radiomapseer import RadioMapSeer, Sample, build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.evaluation.metrics import building_ious
from radiodiff.evaluation.predictions import score_maps
from radiodiff.evaluation.settings import MetricConfig
from radiodiff.experiments.methods import Method, Observe, open_for, predict_batch
from radiodiff.experiments.reproduce.settings import ReproduceConfig, SampleSettings, Scenario
from radiodiff.experiments.reproduce.sources import Source, digest_of, is_simulated
from radiodiff.inverse.sensing import shadow_mask
from radiodiff.simulate.tree import MANIFEST
from radiodiff.training.baseline_settings import MeasurementSettings
from radiodiff.training.baselines import draw_measurements
from radiodiff.units import gray_to_level, gray_to_model, level_to_gray, model_to_gray


@dataclass(frozen=True)
class Scores:
    """Scores of one cell.

    Attributes:
        names: of the N maps.
        values: metric -> (N,) float64.
    """

    names: tuple[str, ...]
    values: dict[str, Tensor]


def scenario_data(config: ReproduceConfig, scenario: Scenario) -> DataConfig:
    """Return the maps of a scenario."""
    return config.data.model_copy(update={"simulation": scenario.simulation})


def observer(samples: SampleSettings | None) -> Observe | None:
    """Return what measures a map as a scenario says; None where it measures nothing."""
    if samples is None:
        return None
    ratio, noise = samples.missing_ratio, samples.noise_std
    settings = MeasurementSettings(
        kind=samples.kind,
        aware=samples.aware,
        missing_ratio=(ratio, ratio),
        noise_std=(noise, noise),
    )

    def observe(item: Sample, seed: int) -> Measurements:
        generator = torch.Generator().manual_seed(seed)
        return draw_measurements(item["gain"], item["buildings"], settings, generator)

    return observe


class Cells:
    """Predicts and scores the cells of a comparison, each once.

    Args:
        config: the comparison.
    """

    def __init__(self, config: ReproduceConfig) -> None:
        self._config = config
        self._truths: dict[str, RadioMapSeer] = {}
        root = config.data.root
        manifest = root / MANIFEST
        self._data_identity = {
            **config.data.model_dump(mode="json", exclude={"cache", "prompt_features"}),
            "root": str(root.resolve()),
            "manifest": manifest.read_text(encoding="utf-8") if is_simulated(root) else None,
            "part": config.part,
            "max_maps": config.max_maps,
            "batch_size": config.batch_size,
        }

    def maps_folder(self, source: Source, scenario: Scenario, seed: int) -> Path:
        """Return the folder of the predicted maps of a cell."""
        return self._config.cache / "maps" / digest_of(self._identity(source, scenario, seed))

    def predict(self, source: Source, method: Method, scenario: Scenario, seed: int) -> None:
        """Predict the maps of a cell that are not there yet, with a progress bar.

        Raises:
            InputError: as :func:`radiodiff.experiments.methods.predict_maps`.
        """
        config = self._config
        folder = self.maps_folder(source, scenario, seed)
        dataset = open_for(method, scenario_data(config, scenario), config.part)
        observe = observer(scenario.measurements)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "made_by.json", self._identity(source, scenario, seed))
        count = map_count(dataset, config)
        with tqdm(total=count, desc="predict", unit="map", leave=False) as bar:
            for first in range(0, count, config.batch_size):
                indices = range(first, min(first + config.batch_size, count))
                paths = [folder / f"{dataset.name(index)}.png" for index in indices]
                # A batch is predicted whole or not at all: rounding may depend on its size.
                if not all(path.is_file() for path in paths):
                    predicted = predict_batch(method, dataset, indices, observe=observe, seed=seed)
                    for path, one in zip(paths, predicted, strict=True):
                        _write_png(path, one.gray)
                bar.update(len(indices))

    def is_predicted(self, source: Source, scenario: Scenario, seed: int) -> bool:
        """Whether all maps of a cell are there."""
        folder = self.maps_folder(source, scenario, seed)
        dataset = self.truth(scenario)
        names = (dataset.name(index) for index in range(map_count(dataset, self._config)))
        return all((folder / f"{name}.png").is_file() for name in names)

    def truth(self, scenario: Scenario) -> RadioMapSeer:
        """Open the true maps of a scenario."""
        if scenario.simulation not in self._truths:
            data = scenario_data(self._config, scenario)
            buildings = data.model_copy(update={"prompt_features": ("buildings",)})
            self._truths[scenario.simulation] = build_dataset(buildings, self._config.part)
        return self._truths[scenario.simulation]

    def scores(
        self, source: Source, scenario: Scenario, seed: int, conventions: MetricConfig
    ) -> Scores:
        """Score the predicted maps of a cell, or return the scores found in the cache."""
        config = self._config
        asked = conventions.model_dump(exclude={"averaging"})
        identity = {
            "maps": self._identity(source, scenario, seed),
            "conventions": asked,
            "shadow_threshold": config.shadow_threshold,
        }
        path = config.cache / "scores" / f"{digest_of(identity)}.json"
        if path.is_file():
            held = json.loads(path.read_text(encoding="utf-8"))
            return _as_scores(held["names"], held["values"])
        dataset = self.truth(scenario)
        folder = self.maps_folder(source, scenario, seed)
        scored = [
            self._score(dataset, index, folder, conventions)
            for index in range(map_count(dataset, config))
        ]
        names = [dataset.name(index) for index in range(len(scored))]
        lists = {key: [one[key] for one in scored] for key in scored[0]}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"names": names, "values": lists, "made_by": identity})
        return _as_scores(names, lists)

    def _score(
        self, dataset: RadioMapSeer, index: int, folder: Path, conventions: MetricConfig
    ) -> dict[str, float]:
        gray = read_map(folder, dataset.name(index), dataset.shape)
        item = dataset[index]
        truth, buildings = model_to_gray(item["gain"][0]), item["buildings"][0]
        where = ~buildings if conventions.pixels == "outdoor" else None
        values = score_maps(gray, truth, conventions, where)
        shadows = shadow_mask(gray_to_model(gray).numpy(), self._config.shadow_threshold)
        values |= building_ious(torch.from_numpy(shadows), item["buildings_png"][0], buildings)
        return {name: float(value) for name, value in values.items()}

    def _identity(self, source: Source, scenario: Scenario, seed: int) -> dict[str, Any]:
        return {
            "method": source.identity,
            "scenario": scenario.model_dump(mode="json", exclude={"variant"}),
            "seed": seed,
            "data": self._data_identity,
        }


def _as_scores(names: list[str], lists: dict[str, list[float]]) -> Scores:
    values = {key: torch.tensor(value, dtype=torch.float64) for key, value in lists.items()}
    return Scores(tuple(names), values)


def map_count(dataset: RadioMapSeer, config: ReproduceConfig) -> int:
    """Return how many maps of a part are compared."""
    return min(len(dataset), config.max_maps or len(dataset))


def read_map(folder: Path, name: str, shape: tuple[int, int]) -> Tensor:
    """Read a predicted map, (H, W) gray."""
    return torch.from_numpy(level_to_gray(read_levels(folder / f"{name}.png", shape)))


def _write_png(path: Path, gray: Tensor) -> None:
    partial = path.with_name(path.name + ".partial")
    Image.fromarray(gray_to_level(gray.numpy())).save(partial, format="PNG")
    partial.replace(path)
