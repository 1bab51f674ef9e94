"""Gain maps from files of several kinds: PNG of 8 or 16 bits, NumPy and MATLAB arrays."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from radiodiff.checks import require_regular
from radiodiff.data.images import SIXTEEN_BITS, read_any_levels
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.errors import InputError

GAIN_SUFFIXES = (".png", ".npy", ".npz", ".mat")
IN_DB = ("path_gain_db", "gain_db")
"""Names of arrays in dB."""
IN_GRAY = ("gray",)
"""Names of arrays in gray."""
MAX_SATURATED = 0.5
"""Share of the pixels with gain; in a real map few are next to the transmitter."""
MAX_PIXELS = 2**28
"""Larger arrays are refused before they are read."""


def read_gain(
    path: Path, shape: tuple[int, int] | None = None, scale: Scale = RADIOMAPSEER
) -> np.ndarray:
    """Read a gain map as levels of 8 or 16 bits.

    Args:
        path: a grayscale PNG of 8 or 16 bits, or an array (H, W) in ``.npy``, ``.npz`` or ``.mat``:
            uint8 or uint16 levels, or floats. Floats are gray if they are called so or all lie in
            [0, 1], else dB. A file of several arrays must name one ``path_gain_db``, ``gain_db`` or
            ``gray``. Minus infinity in dB is no gain.
        shape: (H, W) the map must have; None accepts any.
        scale: of values in dB; those outside are clipped.

    Returns:
        (H, W) uint8 of an image of 8 bits, else uint16, whose largest level is gray 1.

    Raises:
        InputError: the file is missing, unreadable, holds no such array, NaN, or another shape.
    """
    if path.suffix == ".png":
        return read_any_levels(path, shape)
    name, array = _read_array(path)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{path}: shape {array.shape}, expected (rows, columns)")
    if shape is not None and array.shape != shape:
        raise InputError(
            f"{path}: {array.shape[0]} x {array.shape[1]} pixels (rows x columns), expected "
            f"{shape[0]} x {shape[1]} like the other maps of the tree"
        )
    if array.dtype in (np.uint8, np.uint16):
        return array
    if array.dtype.kind not in "fi":
        raise InputError(f"{path}: holds {array.dtype}, expected floats, or levels uint8 or uint16")
    values = array.astype(np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        raise InputError(f"{path}: holds NaN or infinity; write the least gain where there is none")
    within = values.min() >= 0.0 and values.max() <= 1.0
    gray = values if name in IN_GRAY or (name not in IN_DB and within) else scale.db_to_gray(values)
    return np.rint(SIXTEEN_BITS * np.clip(gray, 0.0, 1.0)).astype(np.uint16)


def read_extra(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a further image of a map: a PNG as gray in [0, 1], or the numbers of an .npy.

    Returns:
        (H, W) float32.

    Raises:
        InputError: the file is missing or unreadable, of another shape, or holds NaN or infinity.
    """
    if path.suffix == ".png":
        return levels_to_gray(read_any_levels(path, shape))
    _, array = _read_array(path)
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise InputError(f"{path}: {array.dtype} of shape {array.shape}, expected numbers {shape}")
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: holds NaN or infinity")
    return values


def is_saturated(levels: np.ndarray) -> bool:
    """Say whether more than ``MAX_SATURATED`` of the pixels with gain have the largest level.

    So it is where 16 bits were cut to 8 instead of divided by 257.
    """
    with_gain = levels > 0
    largest = np.iinfo(levels.dtype).max
    return bool((levels == largest).sum() > MAX_SATURATED * with_gain.sum())


def to_eight_bits(levels: np.ndarray) -> np.ndarray:
    """Round levels of 8 or 16 bits to 8; only 0, no gain, becomes 0."""
    if levels.dtype == np.uint8:
        return levels
    rounded = np.rint(levels / (SIXTEEN_BITS / 255)).astype(np.uint8)
    return np.where(levels > 0, np.maximum(rounded, 1), 0).astype(np.uint8)


def levels_to_gray(levels: np.ndarray) -> np.ndarray:
    """Convert levels of 8 or 16 bits to float32 gray in [0, 1]."""
    largest = 255 if levels.dtype == np.uint8 else SIXTEEN_BITS
    return levels.astype(np.float32) / np.float32(largest)


def _read_array(path: Path) -> tuple[str | None, np.ndarray]:
    """Return the one array that counts, and its name where it has one."""
    require_regular(path)
    try:
        if path.suffix == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_size(path, array.shape)
            return None, np.asarray(array)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                name = _choose(path, list(held.files))
                return name, np.asarray(held[name])
        return _read_mat(path)
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        MemoryError,
        OverflowError,
        RuntimeError,
        NotImplementedError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        hint = "; save it with -v7" if isinstance(error, NotImplementedError) else ""
        raise InputError(f"{path}: corrupt or no array of numbers{hint}") from None


def _read_mat(path: Path) -> tuple[str, np.ndarray]:
    from scipy.io import loadmat, whosmat  # here: most trees hold none
    from scipy.io.matlab import MatReadError

    try:
        shapes = {name: shape for name, shape, kind in whosmat(path)}
        name = _choose(path, list(shapes))
        _check_size(path, shapes[name])
        return name, np.asarray(loadmat(path, variable_names=[name])[name])
    except MatReadError as error:
        raise ValueError(str(error)) from None


def _choose(path: Path, names: list[str]) -> str:
    for known in (*IN_DB, *IN_GRAY):
        if known in names:
            return known
    if len(names) != 1:
        raise InputError(
            f"{path}: holds {', '.join(names[:5]) or 'nothing'}; name the map "
            f"{', '.join((*IN_DB, *IN_GRAY))}, or keep one array"
        )
    return names[0]


def _check_size(path: Path, shape: tuple[int, ...]) -> None:
    if np.prod([float(side) for side in shape]) > MAX_PIXELS:
        raise InputError(f"{path}: shape {tuple(shape)}, more than {MAX_PIXELS} pixels")
