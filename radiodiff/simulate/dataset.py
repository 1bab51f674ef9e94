"""Writes simulated cities and their radio maps as a RadioMapSeer tree.

The tree has RadioMapSeer's folders and file formats::

    gain/{DPM,carsDPM,IRT2,...}/{map}_{tx}.png   path gain, 8-bit gray, see radiodiff.units
    png/buildings_complete/{map}.png             buildings 255, open land 0
    png/cars/{map}.png, png/roads/{map}.png      likewise
    png/antennas/{map}_{tx}.png                  one pixel of 255: the transmitter
    antenna/{map}.json                           [x, y] of every transmitter
    polygon/{buildings_complete,cars,roads}/{map}.json
    dataset.csv                                  one line per map and transmitter
    manifest.json                                what made the tree

In the JSON files x is the column and y the row, counted from the top left. A polygon is a list of
rings, the outline first and then its holes; a ring is a list of [x, y] that does not repeat the
first.

Every file is written under a temporary name and then renamed, every layout and its transmitters
follow from the seed and the map id alone, and files that exist are not computed again. So a run may
be killed at any time and started again, with any number of workers, and ends with the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import torch
from PIL import Image
from pydantic import Field
from scipy import ndimage
from shapely.geometry import Polygon
from tqdm import tqdm

from radiodiff.cli import provenance
from radiodiff.config import Settings
from radiodiff.errors import InputError
from radiodiff.simulate import dominant_path
from radiodiff.simulate.city import City
from radiodiff.simulate.polygons import rasterise
from radiodiff.simulate.procedural import MAX_SIZE, MIN_SIZE, procedural_city
from radiodiff.units import db_to_level

Simulation = Literal["DPM", "carsDPM", "IRT2", "carsIRT2", "IRT4", "carsIRT4"]

LAYERS = {"buildings_complete": "buildings", "cars": "vehicles", "roads": "roads"}
"""Folder of a layer in the tree -> attribute of the city."""
MANIFEST = "manifest.json"
PARTIAL = ".partial"
BYTES_PER_PIXEL = 0.6
"""Size of a gain image after compression, rounded up."""
BYTES_PER_FILE = 4096
"""What a file system adds to every file at most."""


class SimulateConfig(Settings):
    """A simulated dataset."""

    output: Path
    """Root of the tree. A tree begun with the same settings is continued."""
    seed: int = Field(ge=0)
    """Every layout follows from the seed and its map id."""
    layouts: int = Field(ge=1)
    """Number of cities."""
    first_map_id: int = Field(default=1, ge=0)
    """Id of the first city; RadioMapSeer's splits use the ids 1 .. 700."""
    size: int = Field(ge=MIN_SIZE, le=MAX_SIZE)
    """Side of the square map in pixels of one metre; RadioMapSeer has 256."""
    transmitters: int = Field(ge=1)
    """Transmitters per city; RadioMapSeer has 80."""
    transmitter_margin: float = Field(default=53 / 256, ge=0.0, lt=0.5)
    """Transmitters keep this share of the map's side away from its border, as in RadioMapSeer,
    where they lie in the central 150 m."""
    simulations: tuple[Simulation, ...] = Field(min_length=1)
    """DPM: dominant path model. IRT2, IRT4: ray tracing with at most 2 or 4 interactions, needs the
    extra `raytrace`. With the prefix `cars` the vehicles are there too."""
    workers: int = Field(default=1, ge=1)
    """Processes; the result does not depend on it."""

    @property
    def map_ids(self) -> range:
        """Ids of all cities."""
        return range(self.first_map_id, self.first_map_id + self.layouts)


def simulate_dataset(config: SimulateConfig) -> Path:
    """Write, or finish, the tree that ``config`` describes, with a progress bar.

    Returns:
        the root of the tree.

    Raises:
        InputError: the folder holds another dataset or cannot be written, or the disk is too small.
    """
    root = config.output
    _open_tree(root, config)
    todo = {map_id: _missing_files(config, map_id) for map_id in config.map_ids}
    total = config.layouts * config.transmitters * len(config.simulations)
    left = sum(path.parts[0] == "gain" for paths in todo.values() for path in paths)
    _check_disk(root, sum(len(paths) for paths in todo.values()), config.size)
    with tqdm(total=total, initial=total - left, unit="map", desc="simulate") as progress:
        for finished in _run(config, [map_id for map_id, paths in todo.items() if paths]):
            progress.update(finished)
    _write_index(root, config)
    _write_manifest(root, config, complete=True)
    return root


def choose_transmitters(
    city: City, count: int, rng: np.random.Generator, margin: float = 53 / 256
) -> np.ndarray:
    """Draw distinct transmitter pixels outdoors, off vehicles, in places the street reaches.

    Args:
        city: the city.
        count: number of transmitters.
        rng: source of randomness.
        margin: share of the map's sides that stays free around the border, in [0, 0.5).

    Returns:
        (count, 2) int64 of (row, column). Courtyards without an opening hold no transmitter.

    Raises:
        InputError: the city has fewer than ``count`` such pixels.
    """
    outdoors = ~city.building_mask
    regions, _ = ndimage.label(outdoors)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    allowed = outdoors & np.isin(regions, border[border > 0]) & ~city.vehicle_mask
    rows, columns = city.size
    keep = np.zeros_like(allowed)
    top, left = round(margin * rows), round(margin * columns)
    keep[top : rows - top, left : columns - left] = True
    places = np.argwhere(allowed & keep)
    if len(places) < count:
        raise InputError(
            f"{count} transmitters asked for, but only {len(places)} pixels of the {rows} x "
            f"{columns} map are outdoors, reachable and {margin:.0%} away from its border"
        )
    return places[rng.choice(len(places), size=count, replace=False)]


def draw_layout(config: SimulateConfig, map_id: int) -> tuple[City, np.ndarray]:
    """Return the city of a map id and its (transmitters, 2) pixels (row, column)."""
    city = procedural_city(np.random.default_rng([config.seed, map_id, 0]), config.size)
    rng = np.random.default_rng([config.seed, map_id, 1])
    return city, choose_transmitters(city, config.transmitters, rng, config.transmitter_margin)


def simulate_layout(config: SimulateConfig, map_id: int) -> int:
    """Write the missing files of one layout; return how many radio maps were computed."""
    missing = set(_missing_files(config, map_id))
    city, transmitters = draw_layout(config, map_id)
    for path, content in _layout_files(map_id, city, transmitters).items():
        if path in missing:
            _write_atomic(config.output / path, content)
    computed = 0
    for simulation in config.simulations:
        paths = [_gain_path(simulation, map_id, tx) for tx in range(config.transmitters)]
        if missing.isdisjoint(paths):
            continue
        path_gain = _engine(simulation, city)
        for path, (row, column) in zip(paths, transmitters.tolist(), strict=True):
            if path in missing:
                _write_atomic(config.output / path, _png(db_to_level(path_gain((row, column)))))
                computed += 1
    return computed


def _engine(simulation: Simulation, city: City) -> Callable[[tuple[int, int]], np.ndarray]:
    """Return the function from a transmitter's (row, column) to the (H, W) path gain in dB."""
    vehicles = city.vehicle_mask if simulation.startswith("cars") else None
    layout = dominant_path.Layout.from_polygons(city.buildings, city.size)
    return lambda transmitter: layout.path_gain(transmitter, vehicles)


def _gain_path(simulation: Simulation, map_id: int, tx: int) -> Path:
    return Path("gain", simulation, f"{map_id}_{tx}.png")


def _missing_files(config: SimulateConfig, map_id: int) -> list[Path]:
    """Return the files of a layout that do not exist yet, relative to the root of the tree."""
    transmitters = range(config.transmitters)
    paths = [
        *(Path("png", layer, f"{map_id}.png") for layer in LAYERS),
        *(Path("polygon", layer, f"{map_id}.json") for layer in LAYERS),
        Path("antenna", f"{map_id}.json"),
        *(Path("png", "antennas", f"{map_id}_{tx}.png") for tx in transmitters),
        *(_gain_path(name, map_id, tx) for name in config.simulations for tx in transmitters),
    ]
    return [path for path in paths if not (config.output / path).exists()]


def _layout_files(map_id: int, city: City, transmitters: np.ndarray) -> dict[Path, bytes]:
    """Return everything of a layout but its radio maps: path in the tree and content."""
    files = {Path("antenna", f"{map_id}.json"): _json(transmitters[:, ::-1].tolist())}
    for layer, attribute in LAYERS.items():
        polygons = getattr(city, attribute)
        mask = rasterise(polygons, city.size)
        files[Path("png", layer, f"{map_id}.png")] = _png(mask * np.uint8(255))
        files[Path("polygon", layer, f"{map_id}.json")] = _json([_rings(p) for p in polygons])
    for tx, (row, column) in enumerate(transmitters):
        antenna = np.zeros(city.size, dtype=np.uint8)
        antenna[row, column] = 255
        files[Path("png", "antennas", f"{map_id}_{tx}.png")] = _png(antenna)
    return files


def _rings(polygon: Polygon) -> list[list[list[float]]]:
    """Return the outline and the holes of a polygon, each a list of [x, y]."""
    return [
        [[round(x, 3), round(y, 3)] for x, y in ring.coords[:-1]]
        for ring in (polygon.exterior, *polygon.interiors)
    ]


def _png(levels: np.ndarray) -> bytes:
    """Encode a (H, W) uint8 image as 8-bit gray PNG."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is either absent or whole, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _run(config: SimulateConfig, map_ids: list[int]) -> Iterator[int]:
    """Simulate layouts in parallel; yield the number of radio maps of each as it is done."""
    workers = min(config.workers, len(map_ids))
    if workers <= 1:
        for map_id in map_ids:
            yield simulate_layout(config, map_id)
        return
    # Spawned, not forked: forking a process that runs threads (torch, numba) can deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread)
    try:
        for future in as_completed([pool.submit(simulate_layout, config, i) for i in map_ids]):
            yield future.result()
    except BrokenProcessPool:
        raise InputError(
            f"{config.output}: a worker process was killed (out of memory?); start the same "
            "command again to continue, with fewer workers if memory is short"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Keep a worker to one core; the parallelism is in the processes."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _open_tree(root: Path, config: SimulateConfig) -> None:
    """Create the tree, or check that the one found was made from the same settings."""
    manifest = root / MANIFEST
    try:
        if manifest.exists():
            found = json.loads(manifest.read_text(encoding="utf-8"))["config"]
            wanted = _settings(config)
            changed = [key for key in wanted if found.get(key) != wanted[key]]
            if changed:
                key = changed[0]
                raise InputError(
                    f"{root}: holds a dataset made with {key}={found.get(key)!r}, not "
                    f"{wanted[key]!r}; choose another output folder or remove this one"
                )
        elif root.exists() and any(root.iterdir()):
            raise InputError(
                f"{root}: is not empty and has no {MANIFEST}; choose another output folder"
            )
        root.mkdir(parents=True, exist_ok=True)
        for leftover in root.rglob(f"*{PARTIAL}"):
            leftover.unlink()
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{root}: cannot be used as the output folder ({error})") from None
    if not manifest.exists():
        _write_manifest(root, config, complete=False)


def _settings(config: SimulateConfig) -> dict[str, Any]:
    """Return the settings that decide what is in the tree."""
    return config.model_dump(mode="json", exclude={"workers", "output"})


def _write_manifest(root: Path, config: SimulateConfig, complete: bool) -> None:
    made_by = provenance(config, device="cpu") | {"config": _settings(config)}
    content = {"complete": complete, **made_by}
    _write_atomic(root / MANIFEST, (json.dumps(content, indent=2) + "\n").encode())


def _write_index(root: Path, config: SimulateConfig) -> None:
    """Write dataset.csv: one line per map and transmitter, its pixel and its files."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["map", "transmitter", "row", "column", "buildings", *config.simulations])
    for map_id in config.map_ids:
        positions = json.loads((root / "antenna" / f"{map_id}.json").read_text(encoding="utf-8"))
        for tx, (x, y) in enumerate(positions):
            buildings = Path("png", "buildings_complete", f"{map_id}.png")
            gains = [_gain_path(name, map_id, tx).as_posix() for name in config.simulations]
            table.writerow([map_id, tx, y, x, buildings.as_posix(), *gains])
    _write_atomic(root / "dataset.csv", buffer.getvalue().encode())


def _check_disk(root: Path, files: int, size: int) -> None:
    """Refuse to start if the missing files would not fit on the disk."""
    needed = files * (BYTES_PER_FILE + BYTES_PER_PIXEL * size**2)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise InputError(
            f"{root}: {files} files need about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are "
            "free; choose another output folder, or fewer layouts or transmitters"
        )
