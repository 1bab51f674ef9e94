"""How many maps per second the dataset delivers on one core."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from radiodiff.data.images import write_levels
from radiodiff.data.prompts import PAPER_PROMPT, PROMPT_FEATURES
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.units import MAP_SIZE

TARGETS = {"PNG": 150.0, "warm cache": 1000.0}
"""Maps per second and core that training needs with the paper's prompt."""


def maps_per_second(dataset: RadioMapSeer, seconds: float) -> float:
    """Read items over and over for ``seconds`` of processor time, after one that is not counted.

    Processor time leaves out what other programs take, so this is the rate of a core of its own.
    """
    _ = dataset[0]
    count, elapsed, start = 0, 0.0, time.process_time()
    while elapsed < seconds:
        _ = dataset[count % len(dataset)]
        count += 1
        elapsed = time.process_time() - start
    return count / elapsed


def benchmark_dataset(root: Path | None = None, seconds: float = 3.0) -> dict[str, float]:
    """Measure one thread: gain and prompt as float tensors, from PNG and from a warm cache.

    Args:
        root: a tree with DPM maps; None measures on images of noise, which compress worst.
        seconds: of every measurement.

    Returns:
        what was measured -> maps per second.

    Raises:
        InputError: the tree cannot be read.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if root is not None:
            return _measure(root, seconds)
        with tempfile.TemporaryDirectory() as folder:
            write_noise_tree(Path(folder))
            return _measure(Path(folder), seconds)
    finally:
        torch.set_num_threads(threads)


def _measure(root: Path, seconds: float) -> dict[str, float]:
    flat = tuple(name for name in PROMPT_FEATURES if name != "building_height")
    rates = {"PNG": maps_per_second(RadioMapSeer(root, cache=False), seconds)}
    for label, features in {
        "warm cache": PAPER_PROMPT,
        "warm cache, distance": (*PAPER_PROMPT, "distance"),
        "warm cache, every feature of a flat map": flat,
    }.items():
        dataset = RadioMapSeer(root, prompt_features=features)
        dataset.preload()
        rates[label] = maps_per_second(dataset, seconds)
    return rates


def write_noise_tree(root: Path, maps: int = 24) -> None:
    """Write a tree of ``maps`` DPM maps of noise, 256 x 256, with one transmitter each."""
    rng = np.random.default_rng(0)
    shape = (MAP_SIZE, MAP_SIZE)
    folders = {name: root / name for name in ("gain/DPM", "png/buildings_complete", "png/antennas")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for map_id in range(maps):
        buildings = np.kron(rng.random((16, 16)) < 0.3, np.ones((16, 16), dtype=bool))
        buildings[MAP_SIZE // 2, MAP_SIZE // 2] = False
        antenna = np.zeros(shape, dtype=np.uint8)
        antenna[MAP_SIZE // 2, MAP_SIZE // 2] = 255
        gain = np.where(buildings, 0, rng.integers(0, 256, shape)).astype(np.uint8)
        write_levels(folders["gain/DPM"] / f"{map_id}_0.png", gain)
        write_levels(folders["png/buildings_complete"] / f"{map_id}.png", np.uint8(255) * buildings)
        write_levels(folders["png/antennas"] / f"{map_id}_0.png", antenna)
