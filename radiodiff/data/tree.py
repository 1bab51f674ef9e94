"""What a RadioMapSeer tree holds, and errors that name what it lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from radiodiff.errors import InputError

_GAIN_NAME = re.compile(r"(\d{1,9})_(\d{1,9})\.(png|npy|npz|mat)")


def gain_folder(root: Path, simulation: str) -> Path:
    """Return ``gain/{simulation}`` of a tree.

    Raises:
        InputError: there is no such tree, or it lacks this simulation.
    """
    if not root.is_dir():
        raise InputError(
            f"{root}: no such dataset folder; data/README.md tells how to place RadioMapSeer, "
            "scripts/simulate.py makes a tree"
        )
    gain = root / "gain"
    if not (gain / simulation).is_dir():
        there = [path.name for path in gain.iterdir() if path.is_dir()] if gain.is_dir() else []
        raise InputError(
            f"{gain / simulation}: no such folder; gain/ holds "
            f"{', '.join(sorted(there)) or 'nothing'}"
        )
    return gain / simulation


def scan_gain(folder: Path) -> dict[int, set[int]]:
    """Return map id -> transmitter numbers of a gain folder.

    Raises:
        InputError: as :func:`gain_files`.
    """
    present: dict[int, set[int]] = {}
    for map_id, transmitter in gain_files(folder):
        present.setdefault(map_id, set()).add(transmitter)
    return present


def gain_files(folder: Path) -> dict[tuple[int, int], Path]:
    """Return (map, transmitter) -> file of a gain folder; leading zeros in names do not count.

    Raises:
        InputError: there is no file named {map}_{transmitter}.png (.npy, .npz, .mat), or two files
            of one map.
    """
    files: dict[tuple[int, int], Path] = {}
    for path in sorted(folder.iterdir()):
        match = _GAIN_NAME.fullmatch(path.name)
        if match is None:
            continue
        pair = int(match[1]), int(match[2])
        if pair in files:
            raise InputError(f"{folder}: {files[pair].name} and {path.name} are the same map")
        files[pair] = path
    if not files:
        raise InputError(
            f"{folder}: holds no image named {{map}}_{{transmitter}}.png (or .npy, .npz, .mat)"
        )
    return files


class NumberedFiles:
    """The files of a folder by the numbers in their names, with leading zeros or without.

    Args:
        folder: may be missing.
        suffix: of the files, such as ``.png``.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self._suffix = suffix
        self._padded: dict[tuple[int, ...], Path] | None = None

    def __call__(self, *numbers: int) -> Path:
        """Return the file of ``numbers``; the plain name where there is none."""
        plain = self.folder / ("_".join(map(str, numbers)) + self._suffix)
        if plain.is_file():
            return plain
        if self._padded is None:
            self._padded = {}
            for path in self.folder.glob(f"0*{self._suffix}"):
                parts = path.stem.split("_")
                if all(part.isascii() and part.isdigit() for part in parts):
                    self._padded[tuple(map(int, parts))] = path
        return self._padded.get(numbers, plain)


def require_folder(folder: Path) -> None:
    """Raise InputError unless the folder exists."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; copy it from the dataset")


def require_maps(
    maps: Sequence[int], present: dict[int, set[int]], folder: Path, split: str = ""
) -> None:
    """Raise InputError unless there are maps and all are present; ``split`` begins the message."""
    if not maps:
        raise InputError(f"{split}{folder}: no map was asked for")
    absent = [map_id for map_id in maps if map_id not in present]
    if absent:
        raise InputError(
            f"{split}{folder} lacks {len(absent)} of {len(maps)} maps, {some(absent)}; it holds "
            f"{len(present)} maps: {some(sorted(present))}. On a sample or a simulated tree use "
            "split all, fraction or explicit"
        )


def some(values: Sequence[int] | Sequence[str]) -> str:
    """Join the first five values for a message."""
    shown = ", ".join(str(value) for value in values[:5])
    return shown + (", ..." if len(values) > 5 else "")
