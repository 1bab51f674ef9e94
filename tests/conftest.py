"""Fixtures shared by all tests: a small tree in RadioMapSeer's layout, and the real one."""

import functools
import json
import math
import multiprocessing
import os
import runpy
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

TREE_MAPS = (3, 7, 12, 30)
TREE_TRANSMITTERS = 3
TREE_SHAPE = (24, 32)


def write_png(path: Path, levels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)


def write_tree(
    root: Path,
    maps: tuple[int, ...] = TREE_MAPS,
    transmitters: int = TREE_TRANSMITTERS,
    shape: tuple[int, int] = TREE_SHAPE,
    simulations: tuple[str, ...] = ("DPM", "carsDPM"),
) -> Path:
    """Write a tree of rectangular buildings; gain falls with log distance and is 0 in buildings."""
    rng = np.random.default_rng(0)
    height, width = shape
    rows, columns = np.mgrid[:height, :width]
    for map_id in maps:
        buildings = np.zeros(shape, dtype=bool)
        for _ in range(3):
            top, left = rng.integers(0, height - 6), rng.integers(0, width - 6)
            buildings[top : top + 5, left : left + 4] = True
        write_png(root / f"png/buildings_complete/{map_id}.png", np.uint8(255) * buildings)
        missing = buildings.copy()
        missing[:, : width // 2] = False
        for version in (1, 2):
            folder = root / f"png/buildings_missing1/{version}"
            write_png(folder / f"{map_id}.png", np.uint8(255) * missing)
        cars = np.zeros(shape, dtype=bool)
        cars[tuple(rng.choice(np.argwhere(~buildings)))] = True
        write_png(root / f"png/cars/{map_id}.png", np.uint8(255) * cars)
        positions = rng.choice(np.argwhere(~buildings & ~cars), transmitters, replace=False)
        for transmitter, (row, column) in enumerate(positions):
            antenna = np.zeros(shape, dtype=np.uint8)
            antenna[row, column] = 255
            write_png(root / f"png/antennas/{map_id}_{transmitter}.png", antenna)
            distance = np.maximum(np.hypot(rows - row, columns - column), 1.0)
            gain = np.rint(255 - 64.5 * np.log10(distance)).astype(np.uint8)
            gain[buildings] = 0
            for simulation in simulations:
                dimmed = np.where(cars, gain // 2, gain) if "cars" in simulation else gain
                write_png(root / f"gain/{simulation}/{map_id}_{transmitter}.png", dimmed)
        (root / "antenna").mkdir(exist_ok=True)
        listed = [[int(column), int(row)] for row, column in positions]
        (root / f"antenna/{map_id}.json").write_text(json.dumps(listed))
    return root


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 4 maps (ids 3, 7, 12, 30) with 3 transmitters, 24 x 32 pixels; do not change it."""
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a custom tree; takes the arguments of write_tree after root."""
    return lambda **options: write_tree(tmp_path / "tree", **options)


@pytest.fixture(scope="session")
def write_radio_maps() -> Callable[..., Path]:
    """The function write_tree, for fixtures that need a tree of their own."""
    return write_tree


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that finds a port for processes to meet at."""

    def free_port() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        return port

    return free_port


@pytest.fixture(scope="session")
def run_on_two(free_port: Callable[[], int]) -> Callable[..., None]:
    """A function that runs a test file as a script on two processes that can meet.

    It takes the file and what the script shall find as ``ARGUMENTS``. The environment is that of
    torchrun, and everything is imported already.
    """

    def run_on_two(file: str, *arguments: object) -> None:
        port = free_port()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["radiodiff.training.tasks"])
        group = [
            context.Process(
                target=runpy.run_path,
                args=(
                    str(Path(__file__).with_name("one_of_two.py")),
                    {"RUN": (number, port, file, arguments)},
                    "__main__",
                ),
            )
            for number in range(2)
        ]
        for process in group:
            process.start()
        for process in group:
            process.join(timeout=120)
        assert [process.exitcode for process in group] == [0, 0]

    return run_on_two


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The real dataset, named by the environment variable RADIOMAPSEER_ROOT."""
    root = os.environ.get("RADIOMAPSEER_ROOT")
    if not root:
        pytest.skip("RADIOMAPSEER_ROOT is not set")
    return Path(root)


class Reference(NamedTuple):
    """Weights and inputs given to a public implementation, and its outputs; see reference/."""

    state_dict: dict[str, torch.Tensor]
    arrays: dict[str, torch.Tensor]


def draw_weights(key: str, shape: list[int]) -> torch.Tensor:
    """Draw the tensor called ``key``, always the same; the rule is in reference/README.md."""
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    name = key.split(".")[-1]
    if name == "running_var":
        values = 1.0 + 0.1 * np.abs(values)
    elif name == "complex_weight":
        values = 0.02 * values
    elif name == "g" or (name == "weight" and len(shape) == 1):
        values = 1.0 + 0.1 * values
    elif name != "W":
        values = values / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1 * values
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@pytest.fixture(scope="session")
def load_reference() -> Callable[[str], Reference]:
    """A function from a name in tests/reference to the reference of that name."""
    folder = Path(__file__).parent / "reference"

    @functools.cache
    def load(name: str) -> Reference:
        keys = json.loads((folder / f"{name}.keys.json").read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            return Reference(
                {key: draw_weights(key, shape) for key, shape in keys.items()},
                {key: torch.from_numpy(arrays[key]) for key in arrays.files},
            )

    return load
