"""RadioMapSeer as a torch dataset, read from the dataset's own directory tree.

``data/README.md`` describes the tree; one written by ``scripts/simulate.py`` is read the same way.
:mod:`radiodiff.data.splits` says which maps, :mod:`radiodiff.data.prompts` what the prompt holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, get_args

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from radiodiff.data.footprints import Footprint, read_rings
from radiodiff.data.gain_files import levels_to_gray, read_extra, read_gain, to_eight_bits
from radiodiff.data.images import read_antenna_json, read_antenna_png, read_mask
from radiodiff.data.layouts import Layouts
from radiodiff.data.parts import split_maps
from radiodiff.data.polygons import rasterise
from radiodiff.data.prompts import (
    OF_VEHICLES,
    PAPER_PROMPT,
    Scene,
    check_features,
    check_transmitter,
    stack_features,
)
from radiodiff.data.scale import RADIOMAPSEER, Scale, tree_scale
from radiodiff.data.settings import (
    BuildingSource,
    DataConfig,
    LayoutName,
    Simulation,
    Threshold,
)
from radiodiff.data.splits import LiteratureSplit, Part
from radiodiff.data.thresholds import apply_threshold
from radiodiff.data.tree import (
    NumberedFiles,
    gain_files,
    gain_folder,
    require_folder,
    require_maps,
    scan_gain,
    some,
)
from radiodiff.errors import InputError
from radiodiff.units import RESOLUTION_M, gray_to_model

ANTENNA_TOLERANCE = 2.0
"""Pixels between a listed transmitter and the centre of the brightest pixels of its gain image; on
real maps the latter is up to one pixel off."""

Value = TypeVar("Value")


class Sample(TypedDict):
    """One radio map.

    ``gain`` (1, H, W) float32, model range; ``prompt`` (C, H, W) float32 in [-1, 1]; ``buildings``
    (1, H, W) bool, the pixels without gain; ``buildings_png`` (1, H, W) bool, the dataset's image
    of them, half a pixel off; ``transmitter`` (2,) int64, (row, column); ``name`` such as "12_7"
    (map 12, transmitter 7).
    """

    gain: torch.Tensor
    prompt: torch.Tensor
    buildings: torch.Tensor
    buildings_png: torch.Tensor
    transmitter: torch.Tensor
    name: str


class RadioMapSeer(Dataset[Sample]):
    """Maps of one propagation model, in order of map id as given, then of transmitter.

    Args:
        root: the folder that holds ``gain/`` and ``png/``.
        maps: map ids; None takes every map of ``gain/{simulation}``, ascending.
        simulation: propagation model. With "cars..." the prompt's vehicles come from ``png/cars``,
            or like the buildings from their polygons.
        transmitters: numbers that every map must have; None takes those present, ascending.
        layout: the buildings given as prompt; "missing1" .. "missing4" lack one to four of them.
        layout_version: which of the versions 1 .. 6 of an incomplete layout.
        buildings: what footprints are made from, see :class:`radiodiff.data.layouts.Layouts`.
            They are kept in memory, 130 kB per map of 256 x 256.
        prompt_features: names from :data:`radiodiff.data.prompts.PROMPT_FEATURES`; () makes prompts
            without a channel.
        threshold: "thr2" applies :func:`apply_threshold` to the gain.
        cache: keep decoded images in memory as 8-bit arrays. Worker processes started after
            :meth:`preload` share one copy; otherwise each fills its own.
        resolution_m: side of a pixel in metres.
        prompt_cache: folder that keeps the prompt channels that take long to compute; None
            computes them for every item.
        scale: gain of gray 0 and gray 1, for files in dB and for what is said in dB.
        rooftop: transmitters may stand on buildings.
        building_heights: building images hold heights.
        extra: name -> place of further images of each map, see :class:`DataConfig`.

    Raises:
        InputError: a folder, a map or a transmitter is missing. Reading an item raises it when the
            file is missing, corrupt, of the wrong mode or size, or contradicts the others.
    """

    def __init__(
        self,
        root: str | Path,
        maps: Sequence[int] | None = None,
        *,
        simulation: Simulation = "DPM",
        transmitters: Sequence[int] | None = None,
        layout: LayoutName = "complete",
        layout_version: int = 1,
        buildings: BuildingSource = "auto",
        prompt_features: Sequence[str] = PAPER_PROMPT,
        threshold: Threshold = "none",
        cache: bool = True,
        resolution_m: float = RESOLUTION_M,
        prompt_cache: Path | None = None,
        scale: Scale = RADIOMAPSEER,
        rooftop: bool = False,
        building_heights: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.scale = scale
        """Gain of gray 0 and gray 1 in dB."""
        self._rooftop = rooftop
        self.gain_folder = gain_folder(self.root, simulation)
        self._extra = {} if extra is None else dict(extra)
        self._layouts = Layouts(self.root, layout, layout_version, buildings, building_heights)
        if prompt_features:
            check_features(prompt_features)
        self.prompt_features = tuple(prompt_features)
        self.threshold = threshold
        self._resolution_m = resolution_m
        self._prompt_cache = prompt_cache
        self.dynamic = simulation.startswith("cars")
        """Whether the maps have vehicles."""
        self.vehicles_folder: Path | None = None
        if self.dynamic and not OF_VEHICLES.isdisjoint(self.prompt_features):
            self.vehicles_folder = self.root / "png" / "cars"
            require_folder(self.vehicles_folder)
            self._vehicle_files = NumberedFiles(self.vehicles_folder, ".png")
        self.antenna_images = self.root / "png" / "antennas"
        if not self.antenna_images.is_dir() and not (self.root / "antenna").is_dir():
            raise InputError(
                f"{self.root}: no transmitter positions, neither png/antennas/ nor antenna/ "
                "exists; copy one of them from the dataset"
            )

        self._antenna_files = NumberedFiles(self.antenna_images, ".png")
        self._gain_files = gain_files(self.gain_folder)
        present = scan_gain(self.gain_folder)
        map_ids = sorted(present) if maps is None else list(maps)
        require_maps(map_ids, present, self.gain_folder)
        self.pairs = [
            (map_id, transmitter)
            for map_id in map_ids
            for transmitter in (sorted(present[map_id]) if transmitters is None else transmitters)
        ]
        absent = [f"{m}_{t}.png" for m, t in self.pairs if t not in present[m]]
        if absent:
            raise InputError(
                f"{self.gain_folder}: {len(absent)} of {len(self.pairs)} transmitter images are "
                f"missing, {some(absent)}; complete the folder or ask for other transmitters"
            )
        self._pairs_of_map: dict[int, list[tuple[int, int]]] = {}
        for pair in self.pairs:
            self._pairs_of_map.setdefault(pair[0], []).append(pair)
        levels = apply_threshold(levels_to_gray(np.arange(256, dtype=np.uint8)), threshold)
        self._model_of_level = gray_to_model(levels).astype(np.float32)
        self._cache: dict[Path, Any] | None = {} if cache else None
        image = self._layouts.image(map_ids[0], shape=None)
        self.shape: tuple[int, int] = (
            read_gain(self._gain_file(*self.pairs[0]), None, scale) if image is None else image
        ).shape
        """(H, W) of every map."""
        self.prompt_size: tuple[int, int] = self.shape
        """Least (H, W) of the prompts, which show more of the scene than the map does where this is
        larger (:meth:`radiodiff.data.prompts.Scene.extended`)."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        footprint, scene = self.footprint(index), self.scene(index)
        return {
            "gain": torch.from_numpy(self._model(index))[None],
            "prompt": stack_features(self.prompt_features, scene.extended(self.prompt_size)),
            "buildings": torch.from_numpy(footprint.mask.copy())[None],
            "buildings_png": torch.from_numpy(footprint.png.copy())[None],
            "transmitter": torch.tensor(scene.transmitter, dtype=torch.int64),
            "name": self.name(index),
        }

    def scene(self, index: int) -> Scene:
        """Return what the prompt of an item is made from."""
        map_id, transmitter_id = self.pairs[index]
        footprint = self.footprint(index)
        return Scene(
            footprint.mask,
            self._transmitter(map_id, transmitter_id),
            self._vehicles(map_id),
            polygons=footprint.given_polygons,
            resolution_m=self._resolution_m,
            cache=self._prompt_cache,
            heights=self._layouts.heights(map_id, self.shape),
            extra={
                name: self._cached(path, partial(read_extra, path, self.shape))
                for name, path in self._extra_files(map_id, transmitter_id).items()
            },
        )

    def name(self, index: int) -> str:
        """Return "{map}_{transmitter}", the file name without suffix."""
        map_id, transmitter = self.pairs[index]
        return f"{map_id}_{transmitter}"

    def gain_file(self, index: int) -> Path:
        """Return the file of a gain map."""
        return self._gain_file(*self.pairs[index])

    def levels(self, index: int) -> np.ndarray:
        """Return the (H, W) uint8 levels of a gain map before any threshold, 0 for no gain."""
        return self._levels(*self.pairs[index])

    def gray(self, index: int) -> np.ndarray:
        """Return the (H, W) float32 gray of a gain map as stored, before any threshold."""
        return levels_to_gray(self._stored(*self.pairs[index]))

    def _model(self, index: int) -> np.ndarray:
        """Return a gain map in model range, thresholded."""
        stored = self._stored(*self.pairs[index])
        if stored.dtype == np.uint8:
            return self._model_of_level.take(stored)
        gray = apply_threshold(levels_to_gray(stored), self.threshold)
        return gray_to_model(gray).astype(np.float32)

    def footprint(self, index: int) -> Footprint:
        """Return the buildings that an item's prompt shows, with their polygons."""
        map_id, transmitter_id = self.pairs[index]
        return self._footprint(map_id).opened_at(self._transmitter(map_id, transmitter_id))

    def building_sources(self) -> dict[str, int]:
        """Return what buildings are made from (polygon, png, gain) -> number of maps."""
        return self._layouts.sources({map_id for map_id, _ in self.pairs})

    def files(self, index: int) -> list[Path]:
        """Return the files that an item is read from, those of every possible prompt included."""
        map_id = self.pairs[index][0]
        places = [f"antenna/{map_id}.json"]
        if self.dynamic:
            places += [f"png/cars/{map_id}.png", f"polygon/cars/{map_id}.json"]
        possible = [self.root / place for place in places]
        possible.append(self._antenna_files(*self.pairs[index]))
        possible += self._extra_files(*self.pairs[index]).values()
        possible.append(self._gain_file(*self.pairs[index]))
        # Footprints made from images look at gain images of the same map, of polygons they do not.
        if self._layouts.source(map_id) != "polygon":
            possible += [self._gain_file(*pair) for pair in self._pairs_of_map[map_id]]
        return [path for path in possible if path.is_file()] + self._layouts.files(map_id)

    def preload(self) -> None:
        """Decode every image into the cache, with a progress bar.

        Raises:
            InputError: the dataset was made without a cache, or an image cannot be read.
        """
        if self._cache is None:
            raise InputError(f"{self.root}: preload needs the cache; set data.cache to true")
        for index, (map_id, transmitter) in enumerate(tqdm(self.pairs, desc="decode", leave=False)):
            self._transmitter(map_id, transmitter)
            self._vehicles(map_id)
            self.levels(index)

    def _extra_files(self, map_id: int, transmitter: int) -> dict[str, Path]:
        return {
            name: self.root
            / place.replace("{map}", str(map_id)).replace("{transmitter}", str(transmitter))
            for name, place in self._extra.items()
        }

    def _gain_file(self, map_id: int, transmitter_id: int) -> Path:
        return self._gain_files[map_id, transmitter_id]

    def _stored(self, map_id: int, transmitter_id: int) -> np.ndarray:
        path = self._gain_file(map_id, transmitter_id)
        return self._cached(path, lambda: read_gain(path, self.shape, self.scale))

    def _levels(self, map_id: int, transmitter_id: int) -> np.ndarray:
        return to_eight_bits(self._stored(map_id, transmitter_id))

    def _footprint(self, map_id: int) -> Footprint:
        readers = [partial(self._levels, *pair) for pair in self._pairs_of_map[map_id]]
        return self._layouts.footprint(map_id, self.shape, readers)

    def _vehicles(self, map_id: int) -> np.ndarray | None:
        if self.vehicles_folder is None:
            return None
        path = self._vehicle_files(map_id)
        rings = self.root / "polygon" / "cars" / f"{map_id}.json"
        if self._layouts.source(map_id) == "polygon" and rings.is_file():
            # Images are half a pixel off the gain, for vehicles as for buildings.
            return self._cached(path, lambda: rasterise(read_rings(rings, self.shape), self.shape))
        return self._cached(path, lambda: read_mask(path, self.shape))

    def _transmitter(self, map_id: int, transmitter_id: int) -> tuple[int, int]:
        image = self._antenna_files(map_id, transmitter_id)

        def read() -> tuple[int, int]:
            if image.is_file():
                position, source = read_antenna_png(image, self.shape), image
            else:
                position, source = self._listed_transmitter(map_id, transmitter_id)
            buildings = self._footprint(map_id).opened_at(position).mask
            if self._rooftop:
                buildings = np.zeros_like(buildings)
            return check_transmitter(position, buildings, str(source))

        return self._cached(image, read)

    def _listed_transmitter(self, map_id: int, transmitter_id: int) -> tuple[tuple[int, int], Path]:
        path = self.root / "antenna" / f"{map_id}.json"
        if not path.is_file():
            raise InputError(
                f"{self.root}: no position of transmitter {transmitter_id} of map {map_id}: there "
                f"is neither png/antennas/{map_id}_{transmitter_id}.png nor antenna/{map_id}.json"
            )
        positions = self._cached(path, lambda: read_antenna_json(path))
        if transmitter_id >= len(positions):
            raise InputError(
                f"{path}: lists {len(positions)} transmitters, number {transmitter_id} is missing"
            )
        # Trees differ in whether y counts from the top or the bottom row; the gain tells.
        x, y = positions[transmitter_id]
        levels = self._levels(map_id, transmitter_id)
        row, column = np.argwhere(levels == levels.max()).mean(axis=0)
        y_down = min(y, self.shape[0] - 1 - y, key=lambda y_down: abs(y_down - row))
        if max(abs(y_down - row), abs(x - column)) > ANTENNA_TOLERANCE:
            raise InputError(
                f"{path}: transmitter {transmitter_id} at x = {x}, y = {y}, but the gain image is "
                f"brightest at row {row:.0f}, column {column:.0f}; use the antenna images instead"
            )
        return (y_down, x), path

    def _cached(self, path: Path, read: Callable[[], Value]) -> Value:
        if self._cache is None:
            return read()
        if path not in self._cache:
            self._cache[path] = read()
        value: Value = self._cache[path]
        return value


def build_dataset(config: DataConfig, part: Part) -> RadioMapSeer:
    """Open one part of the split that the configuration names.

    Raises:
        InputError: the tree is missing or incomplete, or the split has no such part.
    """
    maps = split_maps(config, part)
    transmitters: Sequence[int] | None = None
    if config.transmitters is not None:
        transmitters = range(*config.transmitters)
    elif config.split in get_args(LiteratureSplit):
        present = scan_gain(gain_folder(config.root, config.simulation))
        transmitters = sorted(set().union(*(present[map_id] for map_id in maps)))
    return RadioMapSeer(
        config.root,
        maps,
        simulation=config.simulation,
        transmitters=transmitters,
        layout=config.layout,
        layout_version=config.layout_version,
        buildings=config.buildings,
        prompt_features=config.prompt_features,
        threshold=config.threshold,
        cache=config.cache,
        resolution_m=config.resolution_m,
        prompt_cache=config.prompt_cache,
        scale=tree_scale(config.root, config.scale),
        rooftop=config.rooftop,
        building_heights=config.building_heights,
        extra=config.extra,
    )
