"""The engine's map as a prompt channel, ``path_loss_model``.

It has the 256 levels of a RadioMapSeer image, as the maps it is compared with, so that a channel
from the cache is the one that would be computed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import shapely

from radiodiff.data.images import read_levels
from radiodiff.data.prompts import Scene
from radiodiff.errors import InputError
from radiodiff.files import write_atomic
from radiodiff.simulate.dominant_path import path_gain
from radiodiff.simulate.path_loss_model import constants
from radiodiff.simulate.tree import encode_png
from radiodiff.units import RESOLUTION_M, db_to_level, gray_to_model, level_to_gray

_OF_LEVEL = gray_to_model(level_to_gray(np.arange(256, dtype=np.uint8)))
_ENGINE = b"dominant path 1"
"""Counts the changes of the engine that change its maps."""


def path_loss_model(scene: Scene) -> np.ndarray:
    """Return what the dominant path model with its fitted constants says of a scene.

    The polygons are those of the scene, or are recovered from its mask; vehicles count where there
    are some. The last few layouts are kept, so that the next transmitter costs far less.

    Args:
        scene: buildings, transmitter, vehicles, and polygons where they are known.

    Returns:
        (H, W) float32 in model range, -1 inside buildings.

    Raises:
        InputError: pixels are not of 1 m, which is what the engine presumes.
    """
    if scene.resolution_m != RESOLUTION_M:
        raise InputError(
            f"resolution_m: found {scene.resolution_m}, the prompt feature path_loss_model is "
            f"computed at {RESOLUTION_M} m"
        )
    if scene.cache is None:
        return _OF_LEVEL[_levels(scene)]
    file = scene.cache / f"{_digest(scene)}.png"
    if not file.is_file():
        write_atomic(file, encode_png(_levels(scene)))
    return _OF_LEVEL[read_levels(file, scene.buildings.shape)]


@dataclass(frozen=True)
class _Buildings:
    """What the engine needs to know of the buildings."""

    building_mask: np.ndarray
    polygons: tuple[shapely.Polygon, ...] | None


def _levels(scene: Scene) -> np.ndarray:
    """Return the engine's map as (H, W) uint8 levels."""
    buildings = _Buildings(scene.buildings, scene.polygons)
    return db_to_level(path_gain(buildings, scene.transmitter, scene.vehicles))


def _digest(scene: Scene) -> str:
    """Return what stands for everything that the engine's map follows from."""
    digest = hashlib.sha256(_ENGINE + constants().path_loss_model.model_dump_json().encode())
    digest.update(repr((scene.buildings.shape, scene.transmitter)).encode())
    digest.update(np.packbits(scene.buildings).tobytes())
    if scene.vehicles is not None:
        digest.update(b"vehicles" + np.packbits(scene.vehicles).tobytes())
    if scene.polygons is not None:
        digest.update(b"polygons" + b"".join(shapely.to_wkb(scene.polygons)))
    return digest.hexdigest()
