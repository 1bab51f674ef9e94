"""The files of a RadioMapSeer tree: where they lie, how they are encoded, how they are written.

The tree has RadioMapSeer's folders and file formats::

    gain/{DPM,carsDPM,IRT2,...}/{map}_{tx}.png   path gain, 8-bit gray, see radiodiff.units
    png/buildings_complete/{map}.png             buildings 255, open land 0
    png/cars/{map}.png, png/roads/{map}.png      likewise
    png/antennas/{map}_{tx}.png                  one pixel of 255: the transmitter
    antenna/{map}.json                           [x, y] of every transmitter
    polygon/{buildings_complete,cars,roads}/{map}.json
    dataset.csv                                  one line per map and transmitter
    manifest.json                                what made the tree

The gain images follow one raster rule and the masks of ``png/{buildings_complete,cars,roads}``
another, half a pixel off (:mod:`radiodiff.data.polygons`). A polygon file is a list of closed rings
of [x, y] in metres, x to the right and y up (:mod:`radiodiff.data.footprints`); in
``antenna/{map}.json`` x is the column and y the row from the top. Every file is written under a
temporary name and then renamed, so it is absent or whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from radiodiff.data.footprints import rings_of
from radiodiff.data.polygons import PNG_RULE, rasterise
from radiodiff.data.settings import Simulation
from radiodiff.simulate.city import City

LAYERS = {"buildings_complete": "buildings", "cars": "vehicles", "roads": "roads"}
"""Folder of a layer in the tree -> attribute of the city."""
MANIFEST = "manifest.json"
INDEX = "dataset.csv"


def gain_path(simulation: Simulation, map_id: int, tx: int) -> Path:
    """Return where a radio map lies, relative to the root of the tree."""
    return Path("gain", simulation, f"{map_id}_{tx}.png")


def layout_paths(map_id: int, transmitters: int, simulations: Iterable[Simulation]) -> list[Path]:
    """Return all files of one layout, relative to the root of the tree."""
    numbers = range(transmitters)
    return [
        *(Path("png", layer, f"{map_id}.png") for layer in LAYERS),
        *(Path("polygon", layer, f"{map_id}.json") for layer in LAYERS),
        Path("antenna", f"{map_id}.json"),
        *(Path("png", "antennas", f"{map_id}_{tx}.png") for tx in numbers),
        *(gain_path(simulation, map_id, tx) for simulation in simulations for tx in numbers),
    ]


def encode_layout(map_id: int, city: City, transmitters: np.ndarray) -> dict[Path, bytes]:
    """Return path and content of every file of a layout except its radio maps.

    Args:
        map_id: id of the layout.
        city: the layout.
        transmitters: (N, 2) int of (row, column).
    """
    files = {Path("antenna", f"{map_id}.json"): _json(transmitters[:, ::-1].tolist())}
    for layer, attribute in LAYERS.items():
        polygons = getattr(city, attribute)
        mask = rasterise(polygons, city.size, PNG_RULE)
        files[Path("png", layer, f"{map_id}.png")] = encode_png(mask * np.uint8(255))
        files[Path("polygon", layer, f"{map_id}.json")] = _json(rings_of(polygons, city.size[0]))
    for tx, (row, column) in enumerate(transmitters):
        antenna = np.zeros(city.size, dtype=np.uint8)
        antenna[row, column] = 255
        files[Path("png", "antennas", f"{map_id}_{tx}.png")] = encode_png(antenna)
    return files


def encode_png(levels: np.ndarray) -> bytes:
    """Encode (H, W) uint8 gray levels as an 8-bit gray PNG."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    return buffer.getvalue()


def encode_index(root: Path, map_ids: Iterable[int], simulations: Sequence[Simulation]) -> bytes:
    """Return ``dataset.csv``: per map and transmitter its pixel and its files."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["map", "transmitter", "row", "column", "buildings", *simulations])
    for map_id in map_ids:
        positions = json.loads((root / "antenna" / f"{map_id}.json").read_text(encoding="utf-8"))
        buildings = Path("png", "buildings_complete", f"{map_id}.png").as_posix()
        for tx, (x, y) in enumerate(positions):
            gains = [gain_path(name, map_id, tx).as_posix() for name in simulations]
            table.writerow([map_id, tx, y, x, buildings, *gains])
    return buffer.getvalue().encode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
