"""The prompt: what a generator is told about a map, as image channels in [-1, 1].

RadioDiff stacks environment features along the channel axis; its released weights expect those of
``PAPER_PROMPT``. A feature is a function of the :class:`Scene` that returns one (H, W) channel;
adding one to ``PROMPT_FEATURES`` makes it available to every configuration. A feature of a package
that this one does not import is named there as "module:function". Configurations check the names,
so what takes long to import is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from radiodiff.data.binary import as_mask
from radiodiff.errors import InputError
from radiodiff.units import MAP_SIZE, RESOLUTION_M

REFERENCE_LENGTH_M = 2**0.5 * MAP_SIZE * RESOLUTION_M
"""The length that is 1 in a prompt, on maps of any size: the diagonal of RadioMapSeer's maps."""

if TYPE_CHECKING:
    import shapely
    import torch


@dataclass(frozen=True)
class Scene:
    """What a map is made from.

    Attributes:
        buildings: (H, W) bool.
        transmitter: (row, column) of an outdoor pixel.
        vehicles: (H, W) bool, or None for a static map.
        polygons: footprints (x = column, y = row) that cover ``buildings``; None where only the
            mask is known.
        resolution_m: side of a pixel in metres.
        cache: folder where channels that take long to compute are kept, or None.
        heights: (H, W) float32 in [0, 1], height of the buildings; None where it is not known.
        extra: name -> (H, W) float32, further images of the map (``data.extra``).
    """

    buildings: np.ndarray
    transmitter: tuple[int, int]
    vehicles: np.ndarray | None = None
    polygons: tuple[shapely.Polygon, ...] | None = None
    resolution_m: float = RESOLUTION_M
    cache: Path | None = None
    heights: np.ndarray | None = None
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def extended(self, size: tuple[int, int]) -> Scene:
        """Return the scene on at least ``size`` pixels, mirrored at its last row and column.

        Buildings, vehicles and images go on beyond the border; the transmitter remains one.
        """
        height, width = self.buildings.shape
        missing = [(0, max(0, size[0] - height)), (0, max(0, size[1] - width))]
        if not any(after for _, after in missing):
            return self

        def extend(image: np.ndarray) -> np.ndarray:
            return np.pad(image, missing, mode="reflect")

        return replace(
            self,
            buildings=extend(self.buildings),
            vehicles=None if self.vehicles is None else extend(self.vehicles),
            polygons=None,  # of the mirrored buildings only the mask is known
            heights=None if self.heights is None else extend(self.heights),
            extra={name: extend(image) for name, image in self.extra.items()},
        )


def _mask_to_channel(mask: np.ndarray) -> np.ndarray:
    """Convert bool to -1 (False) and 1 (True)."""
    channel = mask.astype(np.float32)
    channel *= 2.0
    channel -= 1.0
    return channel


def _buildings(scene: Scene) -> np.ndarray:
    return _mask_to_channel(scene.buildings)


def _transmitter(scene: Scene) -> np.ndarray:
    channel = np.full(scene.buildings.shape, -1.0, dtype=np.float32)
    channel[scene.transmitter] = 1.0
    return channel


def _vehicles(scene: Scene) -> np.ndarray:
    # The released weights see the buildings a second time where a static map has no vehicles.
    return _mask_to_channel(scene.buildings if scene.vehicles is None else scene.vehicles)


def _log_length(squared_m2: np.ndarray) -> np.ndarray:
    """Bring lengths, given as squares in metres, to -1 (1 m or less) .. 1 (the reference length).

    Longer ones exceed 1, so that 100 m is one value on maps of any size.
    """
    logarithm = np.log(np.maximum(squared_m2, np.float32(1.0)))
    return np.float32(1.0 / np.log(REFERENCE_LENGTH_M)) * logarithm - np.float32(1.0)


def _distance(scene: Scene) -> np.ndarray:
    """Log distance to the transmitter: -1 within 1 m, 1 at the reference length."""
    height, width = scene.buildings.shape
    rows = np.arange(height, dtype=np.float32)[:, None] - scene.transmitter[0]
    columns = np.arange(width, dtype=np.float32)[None, :] - scene.transmitter[1]
    return _log_length((rows**2 + columns**2) * np.float32(scene.resolution_m**2))


def _detour(scene: Scene) -> np.ndarray:
    """Log length of the shortest way to the transmitter around the buildings, like the distance.

    The way goes from pixel to pixel in eight directions, so it is up to 8 % too long. Where there
    is none it counts as the reference length, and as no more than that or the map's diagonal.
    """
    from skimage.graph import MCP_Geometric

    walls = np.where(scene.buildings, -1.0, 1.0)  # what is negative cannot be entered
    lengths, _ = MCP_Geometric(walls).find_costs([scene.transmitter])
    longest = max(REFERENCE_LENGTH_M, float(np.hypot(*walls.shape)) * scene.resolution_m)
    metres = np.minimum(lengths * scene.resolution_m, longest)
    metres[np.isinf(lengths)] = REFERENCE_LENGTH_M
    return _log_length(metres.astype(np.float32) ** 2)


def _building_height(scene: Scene) -> np.ndarray:
    """Height of the buildings: -1 on the ground, 1 for the largest level of the image."""
    if scene.heights is None:
        raise InputError("building_height: no heights are known; see data.building_heights")
    return (2.0 * scene.heights - 1.0).astype(np.float32)


def _line_of_sight(scene: Scene) -> np.ndarray:
    from radiodiff.data.visibility import line_of_sight

    return _mask_to_channel(line_of_sight(scene.buildings, scene.transmitter))


def _nothing_measured(scene: Scene) -> np.ndarray:
    """-1; :func:`radiodiff.data.measurements.show_measurements` fills in what was measured."""
    return np.full(scene.buildings.shape, -1.0, dtype=np.float32)


Feature = Callable[[Scene], np.ndarray]

MEASURED_FEATURE = "measurements"
"""The channel that shows measurements: their gray, 0 to 1, and -1 where there are none."""

PROMPT_FEATURES: dict[str, Feature | str] = {
    "buildings": _buildings,
    "transmitter": _transmitter,
    "vehicles": _vehicles,
    "distance": _distance,
    "detour": _detour,
    "line_of_sight": _line_of_sight,
    "building_height": _building_height,
    "path_loss_model": "radiodiff.simulate.prompt:path_loss_model",
    MEASURED_FEATURE: _nothing_measured,
}
"""Feature name -> function of the scene returning (H, W) float32, most of them in [-1, 1]; or where
to find it, as "module:function"."""

OF_VEHICLES = frozenset({"vehicles", "path_loss_model"})
"""Features that look at the vehicles of a scene."""

Fact = Literal["buildings", "transmitter", "vehicles"]
"""What of a scene may be known or not."""
FACTS: tuple[Fact, ...] = get_args(Fact)

REVEALED: dict[str, tuple[Fact, ...]] = {
    "buildings": ("buildings",),
    "transmitter": ("transmitter",),
    "vehicles": ("vehicles",),
    "building_height": ("buildings",),
    "distance": ("transmitter",),
    MEASURED_FEATURE: (),
}
"""Feature name -> the facts it follows from; a feature that is not listed may follow from all."""

PAPER_PROMPT = ("buildings", "transmitter", "vehicles")
"""Channel order of RadioDiff's released weights."""


def build_prompt(
    features: Sequence[str],
    buildings: np.ndarray | torch.Tensor,
    transmitter: Sequence[int] | np.ndarray | torch.Tensor,
    vehicles: np.ndarray | torch.Tensor | None = None,
    resolution_m: float = RESOLUTION_M,
    min_size: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Stack prompt features as the channels of an image.

    Args:
        features: names from ``PROMPT_FEATURES``, in channel order.
        buildings: (H, W) mask, bool or numbers 0 and 1.
        transmitter: (row, column).
        vehicles: (H, W) mask; None, a static map, repeats the buildings in "vehicles".
        resolution_m: side of a pixel in metres.
        min_size: least H and W of the prompt, see :meth:`Scene.extended`; None takes the masks'.

    Returns:
        (C, H, W) float32, in [-1, 1] but for lengths of more than ``REFERENCE_LENGTH_M``.

    Raises:
        InputError: an unknown feature, a mask that is not binary or not (H, W), or a transmitter
            outside the map or inside a building.
    """
    check_features(features)
    building_mask = as_mask(_as_array(buildings), "buildings")
    vehicle_mask = None if vehicles is None else as_mask(_as_array(vehicles), "vehicles")
    if vehicle_mask is not None and vehicle_mask.shape != building_mask.shape:
        raise InputError(
            f"vehicles: shape {vehicle_mask.shape}, expected {building_mask.shape}, the buildings'"
        )
    if not resolution_m > 0:
        raise InputError(f"resolution_m: found {resolution_m}, expected metres above 0")
    position = check_transmitter(transmitter, building_mask)
    scene = Scene(building_mask, position, vehicle_mask, resolution_m=resolution_m)
    return stack_features(features, scene if min_size is None else scene.extended(min_size))


def stack_features(features: Sequence[str], scene: Scene) -> torch.Tensor:
    """Stack the features of a scene that has been checked, (C, H, W) float32."""
    import torch

    prompt = np.empty((len(features), *scene.buildings.shape), dtype=np.float32)
    for channel, name in zip(prompt, features, strict=True):
        channel[...] = _feature(name)(scene)
    return torch.from_numpy(prompt)


def withheld_features(
    features: Sequence[str], known: Sequence[Fact], dynamic: bool
) -> tuple[str, ...]:
    """Return the features that say more than is known.

    Args:
        features: names from ``PROMPT_FEATURES``.
        known: the facts that may be shown.
        dynamic: the map has vehicles. The channel "vehicles" of a static map repeats the buildings.
    """
    withheld = []
    for name in features:
        facts = REVEALED.get(name, FACTS)
        if name == "vehicles" and not dynamic:
            facts = REVEALED["buildings"]
        if not set(facts) <= set(known):
            withheld.append(name)
    return tuple(withheld)


def _feature(name: str) -> Feature:
    """Return the function of a feature, which is looked up where only its place is known."""
    feature = PROMPT_FEATURES[name]
    function: Feature = resolve_name(feature) if isinstance(feature, str) else feature
    return function


def check_features(features: Sequence[str]) -> None:
    """Raise InputError unless every name is a key of ``PROMPT_FEATURES``, and there is one."""
    unknown = [name for name in features if name not in PROMPT_FEATURES]
    if unknown or not features:
        found = repr(unknown[0]) if unknown else "none"
        raise InputError(f"prompt features: found {found}, allowed: {', '.join(PROMPT_FEATURES)}")


def _as_array(mask: np.ndarray | torch.Tensor) -> np.ndarray:
    return np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)


def check_transmitter(
    transmitter: Sequence[int] | np.ndarray | torch.Tensor,
    buildings: np.ndarray,
    name: str = "transmitter",
) -> tuple[int, int]:
    """Return the transmitter as two ints, (row, column).

    Args:
        transmitter: (row, column).
        buildings: (H, W) bool.
        name: what the message starts with, such as the file of the position.

    Raises:
        InputError: it is no pair of whole numbers, outside the map, or inside a building.
    """
    try:
        row, column = (int(value) for value in transmitter)
        whole = all(int(value) == value for value in transmitter)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise InputError(f"{name}: found {transmitter}, expected (row, column) in whole pixels")
    height, width = buildings.shape
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(
            f"{name}: ({row}, {column}) is outside the map; rows are 0 .. {height - 1}, columns "
            f"0 .. {width - 1}"
        )
    if buildings[row, column]:
        raise InputError(
            f"{name}: ({row}, {column}) is inside a building; place it on an outdoor pixel"
        )
    return row, column
