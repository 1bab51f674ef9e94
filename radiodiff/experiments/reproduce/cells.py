"""The cells of a comparison: one method on one scenario with one seed, predicted and scored once.

Predicted maps are kept as 16-bit images, and the images are what is scored; the rounding is too
fine to show in a score. Both maps and scores lie in the cache under a hash of what made them: the
maps' files, the weights or the code of the method, the code of this package, and the settings. A
run that was killed goes on with the batch it was in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from radiodiff.data.images import read_mask, write_gray, write_levels
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.data.thresholds import apply_threshold
from radiodiff.evaluation.metrics import building_ious, truth_power
from radiodiff.evaluation.predictions import read_prediction, score_maps
from radiodiff.evaluation.settings import MetricConfig
from radiodiff.experiments.fingerprints import digest_code, digest_maps, digest_of
from radiodiff.experiments.methods import Method, open_for, predict_batches
from radiodiff.experiments.reproduce.settings import ReproduceConfig, Scenario
from radiodiff.experiments.reproduce.sources import Source
from radiodiff.files import write_json
from radiodiff.inverse.sensing import shadow_mask
from radiodiff.units import gray_to_model, model_to_gray

DATA_SHOWN = {"layout", "layout_version", "buildings", "threshold", "resolution_m"}
"""Settings of the data, besides its files, that maps follow from."""


@dataclass(frozen=True)
class CellScores:
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


class Cells:
    """Predicts and scores the cells of a comparison, each once.

    Args:
        config: the comparison.
    """

    def __init__(self, config: ReproduceConfig) -> None:
        self._config = config
        self._truths: dict[str, RadioMapSeer] = {}
        self._map_digests: dict[str, str] = {}

    def maps_folder(self, source: Source, scenario: Scenario, seed: int) -> Path:
        """Return the folder of the predicted maps of a cell."""
        return self._config.cache / "maps" / digest_of(self._identity(source, scenario, seed))

    def predict(self, source: Source, method: Method, scenario: Scenario, seed: int) -> None:
        """Predict the maps of a cell that are not there yet, with a progress bar.

        Raises:
            InputError: as :func:`radiodiff.experiments.methods.predict_maps`.
            WithheldError: the method asks for what the scenario does not show.
        """
        config = self._config
        folder = self.maps_folder(source, scenario, seed)
        dataset = open_for(method, scenario_data(config, scenario), config.part)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "made_by.json", self._identity(source, scenario, seed))
        count = map_count(dataset, config)
        batches = [
            range(first, min(first + config.batch_size, count))
            for first in range(0, count, config.batch_size)
        ]
        # A batch is predicted whole or not at all: rounding may depend on its size.
        missing = [
            batch
            for batch in batches
            if not all((folder / f"{dataset.name(index)}.png").is_file() for index in batch)
        ]
        with tqdm(
            total=count,
            initial=count - sum(map(len, missing)),
            desc="predict",
            unit="map",
            leave=False,
        ) as bar:
            for predicted in predict_batches(
                method, dataset, missing, seed, scenario.measurements, scenario.known
            ):
                for one in predicted:
                    path = folder / f"{one.name}.png"
                    if one.building_mask is not None:
                        levels = np.uint8(255) * one.building_mask.numpy()
                        write_levels(_mask_path(path), levels)
                    write_gray(path, one.gray.numpy())
                bar.update(len(predicted))

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
            no_prompt = data.model_copy(update={"prompt_features": ()})
            self._truths[scenario.simulation] = build_dataset(no_prompt, self._config.part)
        return self._truths[scenario.simulation]

    def scores(
        self, source: Source, scenario: Scenario, seed: int, conventions: MetricConfig
    ) -> CellScores:
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
        name, tau = dataset.name(index), self._config.shadow_threshold
        gray = read_map(folder, name, dataset.shape)
        item = dataset[index]
        truth, buildings = model_to_gray(item["gain"][0]), item["buildings"][0]
        where = ~buildings if conventions.pixels == "outdoor" else None
        values = score_maps(gray, truth, conventions, where, dataset.scale)
        values["truth_power"] = truth_power(apply_threshold(truth, conventions.threshold), where)
        own = _mask_path(folder / f"{name}.png")
        if tau is None and own.is_file():
            shadows = read_mask(own, dataset.shape)
        else:
            shadows = shadow_mask(gray_to_model(gray).numpy(), tau)
        values |= building_ious(torch.from_numpy(shadows), item["buildings_png"][0], buildings)
        return {name: float(value) for name, value in values.items()}

    def _identity(self, source: Source, scenario: Scenario, seed: int) -> dict[str, Any]:
        return {
            "method": source.identity,
            "scenario": scenario.model_dump(mode="json", exclude={"variant"}),
            "seed": seed,
            "data": self._data_identity(scenario),
            "code": digest_code(),
        }

    def _data_identity(self, scenario: Scenario) -> dict[str, Any]:
        """What the maps follow from: their files and order, not where they lie."""
        config, dataset = self._config, self.truth(scenario)
        count = map_count(dataset, config)
        if scenario.simulation not in self._map_digests:
            self._map_digests[scenario.simulation] = digest_maps(dataset, count)
        return {
            "files": self._map_digests[scenario.simulation],
            "names": digest_of([dataset.name(index) for index in range(count)]),
            **config.data.model_dump(mode="json", include=DATA_SHOWN),
            "batch_size": config.batch_size,
        }


def _as_scores(names: list[str], lists: dict[str, list[float]]) -> CellScores:
    values = {key: torch.tensor(value, dtype=torch.float64) for key, value in lists.items()}
    return CellScores(tuple(names), values)


def map_count(dataset: RadioMapSeer, config: ReproduceConfig) -> int:
    """Return how many maps of a part are compared."""
    return min(len(dataset), config.max_maps or len(dataset))


def read_map(folder: Path, name: str, shape: tuple[int, int]) -> Tensor:
    """Read a predicted map, (H, W) gray."""
    return torch.from_numpy(read_prediction(folder / f"{name}.png", shape))


def _mask_path(path: Path) -> Path:
    """Return where the buildings lie that a method found in a map."""
    return path.with_name("buildings") / path.name
