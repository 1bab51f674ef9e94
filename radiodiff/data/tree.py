"""What a RadioMapSeer tree holds, and errors that name what it lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from radiodiff.errors import InputError

_GAIN_NAME = re.compile(r"(\d+)_(\d+)\.png")


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
        InputError: there is no image named {map}_{transmitter}.png.
    """
    present: dict[int, set[int]] = {}
    for path in folder.iterdir():
        match = _GAIN_NAME.fullmatch(path.name)
        if match:
            present.setdefault(int(match[1]), set()).add(int(match[2]))
    if not present:
        raise InputError(f"{folder}: holds no image named {{map}}_{{transmitter}}.png")
    return present


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
