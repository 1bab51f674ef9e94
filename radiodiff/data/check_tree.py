"""Everything that is wrong with a tree, found in one pass instead of one stop after another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from radiodiff.data.gain_files import GAIN_SUFFIXES, is_saturated, read_gain, to_eight_bits
from radiodiff.data.images import read_antenna_json, read_antenna_png, read_any_levels, read_mask
from radiodiff.data.scale import RADIOMAPSEER, Scale, tree_scale
from radiodiff.data.tree import NumberedFiles, some
from radiodiff.errors import InputError

MAX_DISTANCE = 2
"""Pixels between the transmitter and the brightest pixels beyond which its position is doubted."""
MAX_INSIDE = 0.05
"""Share of a building's pixels with gain beyond which mask and gain are said to contradict."""
_NAME = re.compile(r"(\d{1,9})_(\d{1,9})")
_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "upside down": np.flipud,
    "mirrored": np.fliplr,
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "transposed": np.transpose,
}
"""Common mistakes when masks are written."""


@dataclass
class TreeReport:
    """What a tree holds and what is wrong with it.

    Attributes:
        facts: lines that describe the tree.
        problems: kind of problem -> where it was found.
        maps: (simulation, map, transmitter) of what could be read as a whole.
        scale: of the tree.
    """

    facts: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    maps: list[tuple[str, int, int]] = field(default_factory=list)
    scale: Scale = RADIOMAPSEER

    def add(self, kind: str, where: str) -> None:
        """Note a problem."""
        self.problems.setdefault(kind, []).append(where)

    def text(self) -> str:
        """Return the report, a line for each kind of problem."""
        lines = list(self.facts)
        for kind, places in self.problems.items():
            lines.append(f"{len(places)} x {kind}: {some(places)}")
        kinds = len(self.problems)
        lines.append("nothing is wrong" if not kinds else f"{kinds} kinds of problems")
        return "\n".join(lines)


def check_tree(root: Path) -> TreeReport:
    """Read every file of a tree and note all that training would stop at, and what looks wrong.

    Raises:
        InputError: there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    report = TreeReport()
    try:
        report.scale = tree_scale(root)
    except InputError as error:
        report.add("the description cannot be used", str(error))
    gain = root / "gain"
    simulations = sorted(p.name for p in gain.iterdir() if p.is_dir()) if gain.is_dir() else []
    if not simulations:
        report.add("there are no gain maps", f"{gain}/SIMULATION/{{map}}_{{transmitter}}.png")
    checker = _Checker(root, report)
    for simulation in simulations:
        checker.simulation(simulation)
    checker.leftovers()
    return report


class _Checker:
    """Reads a tree; what several maps share is read once."""

    def __init__(self, root: Path, report: TreeReport) -> None:
        self._root, self._report = root, report
        self._buildings = NumberedFiles(root / "png" / "buildings_complete", ".png")
        self._rings = NumberedFiles(root / "polygon" / "buildings_complete", ".json")
        self._antennas = NumberedFiles(root / "png" / "antennas", ".png")
        self._masks: dict[int, np.ndarray | None] = {}
        self._positions: dict[tuple[int, int], tuple[int, int] | None] = {}
        self._shape: tuple[int, int] | None = None
        self._map_ids: set[int] = set()

    def simulation(self, name: str) -> None:
        """Check the maps of one propagation model."""
        folder = self._root / "gain" / name
        counts: Counter[int] = Counter()
        seen: dict[tuple[int, int], Path] = {}
        for path in tqdm(sorted(folder.iterdir()), desc=f"check {name}", leave=False):
            match = _NAME.fullmatch(path.stem)
            if match is None or path.suffix not in GAIN_SUFFIXES:
                self._report.add(
                    "file names that are not {map}_{transmitter}.png", f"gain/{name}/{path.name}"
                )
                continue
            pair = int(match[1]), int(match[2])
            if pair in seen:
                self._report.add("the same map twice", f"{seen[pair].name} and {path.name}")
                continue
            seen[pair] = path
            counts[pair[0]] += 1
            self._map_ids.add(pair[0])
            if self._map(name, pair, path):
                self._report.maps.append((name, *pair))
        if not counts:
            self._report.add("an empty folder", f"gain/{name}")
            return
        per_map = sorted(set(counts.values()))
        size = f"{self._shape[0]} x {self._shape[1]} pixels" if self._shape else "unknown size"
        self._report.facts.append(
            f"gain/{name}: {len(counts)} maps, {' or '.join(map(str, per_map[:5]))} transmitters "
            f"each, {size}, {self._report.scale.min_db:g} .. {self._report.scale.max_db:g} dB"
        )
        most = counts.most_common(1)[0][1]
        for map_id, count in sorted(counts.items()):
            if count != most:
                self._report.add(
                    "maps with fewer transmitters than the others", f"{name}/{map_id} ({count})"
                )

    def leftovers(self) -> None:
        """Note images of maps that have no gain."""
        for files in (self._buildings, self._antennas):
            if not files.folder.is_dir():
                continue
            for path in sorted(files.folder.glob("*.png")):
                first = path.stem.split("_")[0]
                if not (first.isascii() and first.isdigit()):
                    self._report.add("file names without a map number", path.name)
                elif self._map_ids and int(first[:9]) not in self._map_ids:
                    where = f"{files.folder.name}/{path.name}"
                    self._report.add("images of maps that have no gain", where)

    def _map(self, simulation: str, pair: tuple[int, int], path: Path) -> bool:
        """Check one gain map against buildings and transmitter; return whether all was read."""
        where = f"{simulation}/{path.name}"
        try:
            levels = read_gain(path, None, self._report.scale)
        except InputError as error:
            self._report.add("gain maps that cannot be read", f"{where} ({_reason(path, error)})")
            return False
        if self._shape is None:
            self._shape = (levels.shape[0], levels.shape[1])
        if levels.shape != self._shape:
            found = f"{levels.shape[0]} x {levels.shape[1]}"
            self._report.add(
                f"gain maps of another size than {self._shape[0]} x {self._shape[1]}",
                f"{where} ({found})",
            )
            return False
        if (levels == levels[0, 0]).all():
            self._report.add("gain maps of one level", where)
        elif is_saturated(levels):
            self._report.add(
                "saturated gain maps (16 bits were cut instead of divided by 257?)", where
            )
        eight = to_eight_bits(levels)
        mask = self._mask(pair[0])
        position = self._position(*pair)
        if position is not None:
            for problem in self._transmitter(position, eight, mask):
                self._report.add(problem, where)
        if mask is not None:
            self._inside(mask, eight, where)
        return mask is not None and position is not None

    def _transmitter(
        self, position: tuple[int, int], levels: np.ndarray, mask: np.ndarray | None
    ) -> Iterator[str]:
        if mask is not None and mask[position]:
            yield "transmitters inside of a building (data.rooftop allows them)"
        top, left = (max(p - MAX_DISTANCE, 0) for p in position)
        near = levels[top : position[0] + MAX_DISTANCE + 1, left : position[1] + MAX_DISTANCE + 1]
        if near.max() < levels.max():
            yield "transmitters away from the brightest pixels (row and column swapped?)"

    def _inside(self, mask: np.ndarray, levels: np.ndarray, where: str) -> None:
        lit = levels > 0
        if not mask.any() or (mask & lit).sum() <= MAX_INSIDE * mask.sum():
            return
        kind = "buildings with gain inside (data.buildings=png takes them, gain goes by the gain)"
        for name, turn in _TURNS.items():
            turned = turn(mask)
            if turned.shape == lit.shape and (turned & lit).sum() <= MAX_INSIDE * mask.sum():
                kind = f"buildings that fit the gain {name}"
                break
        self._report.add(kind, where)

    def _mask(self, map_id: int) -> np.ndarray | None:
        if map_id not in self._masks:
            self._masks[map_id] = self._read_mask(map_id)
        return self._masks[map_id]

    def _read_mask(self, map_id: int) -> np.ndarray | None:
        path = self._buildings(map_id)
        if not path.is_file():
            if not self._rings(map_id).is_file():
                self._report.add("maps without buildings", f"png/buildings_complete/{path.name}")
            return None
        try:
            mask = read_mask(path)
        except InputError as error:
            kind = "building images that cannot be used"
            if _holds_heights(path):
                kind = "building images that hold more than two levels (heights are no mask)"
            self._report.add(kind, f"{path.name} ({_reason(path, error)})")
            return None
        return self._fitting(mask, "building images", path)

    def _position(self, map_id: int, transmitter: int) -> tuple[int, int] | None:
        key = map_id, transmitter
        if key not in self._positions:
            self._positions[key] = self._read_position(map_id, transmitter)
        return self._positions[key]

    def _read_position(self, map_id: int, transmitter: int) -> tuple[int, int] | None:
        path = self._antennas(map_id, transmitter)
        listed = self._root / "antenna" / f"{map_id}.json"
        try:
            if not path.is_file():
                if listed.is_file() and transmitter < len(read_antenna_json(listed)):
                    return None  # in which direction it counts, the reader finds out
                self._report.add("transmitters without a position", f"png/antennas/{path.name}")
                return None
            if self._fitting(read_any_levels(path), "antenna images", path) is None:
                return None
            assert self._shape is not None
            return read_antenna_png(path, self._shape)
        except InputError as error:
            self._report.add(
                "antenna images that cannot be used", f"{path.name} ({_reason(path, error)})"
            )
            return None

    def _fitting(self, image: np.ndarray, what: str, path: Path) -> np.ndarray | None:
        """Return the image, or note that it has another size than the gain maps."""
        assert self._shape is not None
        if image.shape == self._shape:
            return image
        self._report.add(
            f"{what} of another size than {self._shape[0]} x {self._shape[1]}",
            f"{path.name} ({image.shape[0]} x {image.shape[1]})",
        )
        return None


def _holds_heights(path: Path) -> bool:
    try:
        return len(np.unique(read_any_levels(path))) > 2
    except InputError:
        return False


def _reason(path: Path, error: InputError) -> str:
    """Return an error without the path, which is named before it."""
    return str(error).removeprefix(f"{path}: ").split(";")[0]
