"""Decoding of the dataset's PNGs, with errors that name the file and what is wrong with it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from radiodiff.checks import require_regular
from radiodiff.errors import InputError
from radiodiff.files import replacing
from radiodiff.units import level_to_gray

SIXTEEN_BITS = 65535
"""The largest level of an image of 16 bits."""
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I")
MASK_LEVELS = (1, 255, SIXTEEN_BITS)
"""Levels that mean yes in a mask."""


def read_levels(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an 8-bit grayscale PNG.

    Args:
        path: the image.
        shape: (H, W) the image must have; None accepts any.

    Returns:
        (H, W) uint8 gray levels.

    Raises:
        InputError: the file is missing, no readable PNG, not 8-bit grayscale or of another size.
    """
    mode, levels = _decode(path, shape)
    _require_eight_bits(path, mode)
    return levels


def read_any_levels(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a grayscale PNG of 8 or 16 bits, or an RGB one of three equal channels.

    Args:
        path: the image.
        shape: (H, W) the image must have; None accepts any.

    Returns:
        (H, W) uint8, or uint16 of an image of 16 bits.

    Raises:
        InputError: as :func:`read_levels`.
    """
    mode, levels = _decode(path, shape)
    if mode in SIXTEEN_BIT_MODES:
        return levels.astype(np.uint16)
    gray = levels[..., 0] if levels.ndim == 3 else levels
    if mode in ("RGB", "RGBA") and (levels[..., :3] == gray[..., None]).all():
        return np.ascontiguousarray(gray)
    _require_eight_bits(path, mode)
    return levels


def read_mask(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a mask into an (H, W) bool array.

    Args:
        path: a PNG of 1 bit, or of two levels: 0 (no), and the largest one or 1 (yes). An image in
            colour counts as gray if its channels are equal; transparency is not looked at.
        shape: (H, W) the image must have; None accepts any.

    Raises:
        InputError: as :func:`read_levels`, or there are other levels.
    """
    mode, levels = _decode(path, shape, plain=True)
    if mode == "1":
        return levels.astype(bool)
    if levels.ndim == 3:
        if not (levels[..., :3] == levels[..., :1]).all():
            raise InputError(f"{path}: not a binary mask, it is coloured")
        levels = levels[..., 0]
    found = np.unique(levels)
    marks = found[found != 0]
    if len(marks) > 1 or (len(marks) == 1 and marks[0] not in MASK_LEVELS):
        other = np.setdiff1d(marks, (255, SIXTEEN_BITS))
        raise InputError(
            f"{path}: not a binary mask, it holds level {other[0]}; only 0 and 255 are allowed, "
            "or 0 and 1 (heights in metres are no mask)"
        )
    mask: np.ndarray = levels != 0
    return mask


def read_antenna_png(path: str | Path, shape: tuple[int, int]) -> tuple[int, int]:
    """Return the (row, column) of the one pixel of gray level 255 in an antenna image.

    Raises:
        InputError: as :func:`read_mask`, or there is not exactly one such pixel.
    """
    pixels = np.argwhere(read_mask(path, shape))
    if len(pixels) != 1:
        raise InputError(f"{path}: {len(pixels)} pixels of level 255, expected 1, the transmitter")
    return int(pixels[0, 0]), int(pixels[0, 1])


def read_antenna_json(path: str | Path) -> list[tuple[int, int]]:
    """Read ``antenna/{map}.json``, a list of [x, y] in whole pixels, one per transmitter.

    Raises:
        InputError: the file is missing, no JSON, or not a list of pairs of numbers.
    """
    try:
        positions = json.loads(Path(path).read_text(encoding="utf-8"))
        pairs = [(round(float(x)), round(float(y))) for x, y in positions]
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except (OSError, TypeError, ValueError, OverflowError, RecursionError):
        raise InputError(f"{path}: expected a JSON list of [x, y] positions") from None
    return pairs


def read_gray(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a PNG of 8 or 16 bits whose largest level is gray 1.

    Args:
        path: the image.
        shape: (H, W) the image must have; None accepts any.

    Returns:
        (H, W) float32 gray in [0, 1].

    Raises:
        InputError: as :func:`read_levels`.
    """
    levels = read_any_levels(path, shape)
    if levels.dtype == np.uint16:
        return (levels / np.float32(SIXTEEN_BITS)).astype(np.float32)
    return level_to_gray(levels)


def write_levels(path: str | Path, levels: np.ndarray) -> None:
    """Write (H, W) uint8 or uint16 levels as PNG, so that no half file remains."""
    with replacing(path) as temporary:
        Image.fromarray(levels).save(temporary, format="PNG")


def write_gray(path: str | Path, gray: np.ndarray) -> None:
    """Write (H, W) gray in [0, 1] as PNG of 16 bits, which :func:`read_gray` reads."""
    write_levels(path, np.rint(SIXTEEN_BITS * gray.astype(np.float64)).astype(np.uint16))


def _decode(
    path: str | Path, shape: tuple[int, int] | None, plain: bool = False
) -> tuple[str, np.ndarray]:
    """Return mode and pixels of a PNG; ``plain`` looks colours up and leaves transparency out."""
    require_regular(Path(path))
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode = image.mode
            wanted = {"P": "RGB", "RGBA": "RGB", "LA": "L"}.get(mode) if plain else None
            levels = np.asarray(image if wanted is None else image.convert(wanted))
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError):
        raise InputError(f"{path}: corrupt or not a PNG; copy it again from its source") from None
    if shape is not None and levels.shape[:2] != shape:
        raise InputError(
            f"{path}: {levels.shape[0]} x {levels.shape[1]} pixels (rows x columns), expected "
            f"{shape[0]} x {shape[1]} like the other images of the tree"
        )
    return mode, levels


def _require_eight_bits(path: str | Path, mode: str) -> None:
    if mode != "L":
        raise InputError(
            f"{path}: image mode {mode}, expected grayscale of 8 bits (L), levels 0 .. 255; divide "
            "levels of 16 bits by 257"
        )
