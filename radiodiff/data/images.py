"""Decoding of the dataset's PNGs, with errors that name the file and what is wrong with it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from radiodiff.errors import InputError


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
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode = image.mode
            levels = np.asarray(image)
    except FileNotFoundError:
        raise InputError(f"{path}: this file is missing") from None
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError):
        raise InputError(f"{path}: corrupt or not a PNG; copy it again from its source") from None
    if mode != "L":
        raise InputError(
            f"{path}: image mode {mode}, expected 8-bit grayscale (L); convert it without rescaling"
        )
    if shape is not None and levels.shape != shape:
        raise InputError(
            f"{path}: {levels.shape[0]} x {levels.shape[1]} pixels (rows x columns), expected "
            f"{shape[0]} x {shape[1]} like the other images of the tree"
        )
    return levels


def read_mask(path: str | Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a mask, a PNG of gray levels 0 (no) and 255 (yes), into an (H, W) bool array.

    Raises:
        InputError: as :func:`read_levels`, or a gray level is neither 0 nor 255.
    """
    levels = read_levels(path, shape)
    mask = levels == 255
    if not np.array_equal(mask, levels != 0):
        other = np.setdiff1d(levels, (0, 255))
        raise InputError(
            f"{path}: not a binary mask, it holds level {other[0]}; only 0 and 255 are allowed"
        )
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
    except (OSError, TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: expected a JSON list of [x, y] positions") from None
    return pairs


def write_levels(path: str | Path, levels: np.ndarray) -> None:
    """Write (H, W) uint8 gray levels as PNG through a temporary file, never half of it."""
    path = Path(path)
    temporary = path.with_name(path.name + ".partial")
    Image.fromarray(levels).save(temporary, format="PNG")
    temporary.replace(path)
