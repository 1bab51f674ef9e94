"""Simulates a dataset: cities, transmitters and radio maps, as the tree of :mod:`.tree`.

Every layout and its transmitters follow from the seed and the map id alone, and files that exist
are not computed again. So a run may be killed at any time and started again, with any number of
workers of one machine or of a Dask cluster, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from radiodiff.cli import provenance
from radiodiff.data.settings import Simulation
from radiodiff.errors import InputError
from radiodiff.executors import run_all
from radiodiff.files import PARTIAL, write_atomic
from radiodiff.simulate import dominant_path, ray_tracing
from radiodiff.simulate.city import City
from radiodiff.simulate.geometry import snap_polygons
from radiodiff.simulate.path_loss_model import PathLossModel, constants
from radiodiff.simulate.procedural import procedural_city
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.simulate.tree import (
    INDEX,
    MANIFEST,
    encode_index,
    encode_layout,
    encode_png,
    gain_path,
    layout_paths,
)
from radiodiff.simulate.variation import draw_footprints, draw_path_loss
from radiodiff.units import db_to_level

BYTES_PER_PIXEL = 0.6
"""Size of a gain image after compression, rounded up."""
BYTES_PER_FILE = 4096
"""What a file system adds to a file at most."""


def simulate_dataset(config: SimulateConfig) -> Path:
    """Write, or finish, the tree that ``config`` describes, with a progress bar.

    Returns:
        the root of the tree.

    Raises:
        InputError: the folder holds another dataset or cannot be written, the disk is too small,
            the city cannot be read, or ray tracing is asked for and Sionna RT is not there.
    """
    root = config.output
    if any(not simulation.endswith("DPM") for simulation in config.simulations):
        ray_tracing.require_sionna()
    map_ids = _map_ids(config)
    todo = {map_id: _missing_files(config, map_id) for map_id in map_ids}
    _check_disk(root, sum(len(paths) for paths in todo.values()), config.size)
    _open_tree(root, config)
    total = len(map_ids) * config.transmitters * len(config.simulations)
    left = sum(path.parts[0] == "gain" for paths in todo.values() for path in paths)
    with tqdm(total=total, initial=total - left, unit="map", desc="simulate") as progress:
        unfinished = [map_id for map_id, paths in todo.items() if paths]
        simulate = partial(simulate_layout, config)
        for finished in run_all(simulate, unfinished, config.executor, config.workers):
            progress.update(finished)
    write_atomic(root / INDEX, encode_index(root, map_ids, config.simulations))
    _write_manifest(root, config, complete=True)
    return root


def choose_transmitters(
    city: City, count: int, rng: np.random.Generator, margin: float = 53 / 256
) -> np.ndarray:
    """Draw distinct transmitter pixels outdoors, off vehicles, in places that a street reaches.

    Args:
        city: the city.
        count: number of transmitters.
        rng: source of randomness.
        margin: share of the map's sides that stays free along the border, in [0, 0.5).

    Returns:
        (count, 2) int64 of (row, column). Courtyards without an opening hold no transmitter.

    Raises:
        InputError: the city has fewer than ``count`` such pixels.
    """
    places = _transmitter_places(city, margin)
    if len(places) < count:
        raise InputError(
            f"{count} transmitters asked for, but only {len(places)} pixels of the {city.size[0]} "
            f"x {city.size[1]} map are outdoors, reachable and {margin:.0%} away from its border"
        )
    return places[rng.choice(len(places), size=count, replace=False)]


@dataclass(frozen=True)
class DrawnLayout:
    """All that the radio maps of one layout follow from.

    Attributes:
        city: what is written about the layout.
        truth: what its radio maps are computed from: ``city``, unless its footprints are varied.
        path_loss_model: constants of the dominant path model.
        transmitters: (transmitters, 2) pixels (row, column), outdoors in both cities.
    """

    city: City
    truth: City
    path_loss_model: PathLossModel
    transmitters: np.ndarray


def draw_layout(config: SimulateConfig, map_id: int) -> DrawnLayout:
    """Return what a map id stands for, which follows from the seed and the id alone."""
    if config.city is None:
        city = procedural_city(np.random.default_rng([config.seed, map_id, 0]), config.size)
    else:
        _, city = _tiles(config)[map_id - config.first_map_id]
    truth, model, outdoors = city, constants().path_loss_model, city
    if config.variation is not None:
        of_variation = np.random.default_rng([config.seed, map_id, 3])
        model = draw_path_loss(config.variation, of_variation)
        simulated, written = draw_footprints(config.variation, city, of_variation)
        truth, city = replace(city, buildings=simulated), replace(city, buildings=written)
        outdoors = replace(city, buildings=simulated + written)
    rng = np.random.default_rng([config.seed, map_id, 1])
    transmitters = choose_transmitters(
        outdoors, config.transmitters, rng, config.transmitter_margin
    )
    return DrawnLayout(city, truth, model, transmitters)


def simulate_layout(config: SimulateConfig, map_id: int) -> int:
    """Write the missing files of one layout; return how many radio maps were computed."""
    missing = set(_missing_files(config, map_id))
    layout = draw_layout(config, map_id)
    for path, content in encode_layout(map_id, layout.city, layout.transmitters).items():
        if path in missing:
            write_atomic(config.output / path, content)
    computed = 0
    for simulation in config.simulations:
        paths = [gain_path(simulation, map_id, tx) for tx in range(config.transmitters)]
        if missing.isdisjoint(paths):
            continue
        path_gain = _engine(simulation, layout)
        for path, (row, column) in zip(paths, layout.transmitters.tolist(), strict=True):
            if path in missing:
                level = db_to_level(path_gain((row, column)))
                write_atomic(config.output / path, encode_png(level))
                computed += 1
    return computed


def _engine(simulation: Simulation, drawn: DrawnLayout) -> Callable[[tuple[int, int]], np.ndarray]:
    """Return the function from a transmitter's (row, column) to the (H, W) path gain in dB."""
    city = drawn.truth
    vehicles = city.vehicle_mask if simulation.startswith("cars") else None
    if not simulation.endswith("DPM"):
        depth = int(simulation[-1])
        return lambda transmitter: ray_tracing.path_gain(
            city, transmitter, vehicles, max_depth=depth
        )
    layout = dominant_path.Layout.from_polygons(city.buildings, city.size, drawn.path_loss_model)
    return lambda transmitter: layout.path_gain(transmitter, vehicles)


def _transmitter_places(city: City, margin: float) -> np.ndarray:
    """Return the (N, 2) pixels (row, column) where a transmitter may stand."""
    outdoors = ~city.building_mask
    regions, _ = ndimage.label(outdoors)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    central = np.zeros_like(outdoors)
    rows, columns = city.size
    top, left = round(margin * rows), round(margin * columns)
    central[top : rows - top, left : columns - left] = True
    reachable = outdoors & np.isin(regions, border)
    return np.argwhere(reachable & central & ~city.vehicle_mask)


@lru_cache(maxsize=1)
def _tiles(config: SimulateConfig) -> list[tuple[tuple[int, int], City]]:
    """Cut the configured city into tiles with room for the transmitters: origin and tile."""
    source = config.city
    if source is None:
        return []
    traffic = np.random.default_rng([config.seed, config.first_map_id, 2])
    city = City.from_geojson(
        source.buildings, source.roads, source.vehicles, source.bounds, traffic
    )
    # The border of a tile cuts walls between whole metres; polygon files hold whole metres.
    snapped = (
        (origin, replace(tile, buildings=tuple(snap_polygons(tile.buildings))))
        for origin, tile in city.tiles(config.size, source.overlap)
    )
    tiles = [
        (origin, tile)
        for origin, tile in snapped
        if len(_transmitter_places(tile, config.transmitter_margin)) >= config.transmitters
    ]
    if not tiles:
        raise InputError(
            f"{source.buildings}: no tile of {config.size} m has room outdoors for "
            f"{config.transmitters} transmitters"
        )
    return tiles


def _map_ids(config: SimulateConfig) -> range:
    count = len(_tiles(config)) if config.layouts is None else config.layouts
    return range(config.first_map_id, config.first_map_id + count)


def _missing_files(config: SimulateConfig, map_id: int) -> list[Path]:
    """Return the files of a layout that do not exist yet, relative to the root of the tree."""
    paths = layout_paths(map_id, config.transmitters, config.simulations)
    return [path for path in paths if not (config.output / path).exists()]


def _open_tree(root: Path, config: SimulateConfig) -> None:
    """Create the tree, or check that the one found was made from the same settings.

    Raises:
        InputError: the folder holds something else or cannot be written.
    """
    manifest = root / MANIFEST
    if manifest.exists():
        _check_same(manifest, config)
        for leftover in root.rglob(f"*{PARTIAL}"):
            leftover.unlink(missing_ok=True)
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(
            f"{root}: exists and is no simulated dataset (no {MANIFEST}); choose another output"
        )
    else:
        _write_manifest(root, config, complete=False)


def _check_same(manifest: Path, config: SimulateConfig) -> None:
    wanted = _settings(config)
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))["config"]
        changed = [key for key in wanted if found.get(key) != wanted[key]]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{manifest}: cannot be read ({error})") from None
    if changed:
        key = changed[0]
        raise InputError(
            f"{manifest.parent}: holds a dataset made with {key} = {found.get(key)!r}, not "
            f"{wanted[key]!r}; choose another output folder or remove this one"
        )


def _settings(config: SimulateConfig) -> dict[str, Any]:
    """Return all that decides what is in the tree, with the digests of the files it is made of."""
    settings = config.model_dump(mode="json", exclude={"workers", "executor", "output"})
    files = [] if config.city is None else config.city.files
    digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return settings | {"inputs_sha256": digests}


def _write_manifest(root: Path, config: SimulateConfig, complete: bool) -> None:
    """Write what made the tree; of a custom city also where its tiles lie."""
    content = {
        "complete": complete,
        **provenance(config, device="cpu"),
        "config": _settings(config),
        "tiles": {
            config.first_map_id + index: {"row": row, "column": column}
            for index, ((row, column), _) in enumerate(_tiles(config))
        },
        "path_loss": _drawn_constants(config),
    }
    write_atomic(root / MANIFEST, (json.dumps(content, indent=2) + "\n").encode())


def _drawn_constants(config: SimulateConfig) -> dict[int, dict[str, Any]]:
    """Return the constants of every layout that has its own, by map id."""
    if config.variation is None:
        return {}
    nominal = constants().path_loss_model
    drawn = {
        map_id: draw_path_loss(config.variation, np.random.default_rng([config.seed, map_id, 3]))
        for map_id in _map_ids(config)
    }
    return {map_id: model.model_dump() for map_id, model in drawn.items() if model != nominal}


def _check_disk(root: Path, files: int, size: int) -> None:
    """Refuse to start if the missing files would not fit on the disk."""
    needed = files * (BYTES_PER_FILE + BYTES_PER_PIXEL * size**2)
    existing = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{root}: {files} files need about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are "
            "free; choose another output folder, or fewer layouts or transmitters"
        )
