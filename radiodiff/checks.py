"""Checks of arguments that many functions take, with one clear line."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from radiodiff.errors import InputError

if TYPE_CHECKING:
    import torch

MAX_COUNT = 10_000
"""Largest number of steps, samples and particles; more is a slip of the pen."""


def check_count(name: str, value: object, most: int = MAX_COUNT, least: int = 1) -> int:
    """Return a whole number of things.

    Args:
        name: what the message starts with.
        value: an int, or another type's whole number such as NumPy's; no bool.
        most: largest value allowed.
        least: smallest value allowed.

    Raises:
        InputError: it is none, or out of range.
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or not least <= value.__index__() <= most:  # type: ignore[attr-defined]
        raise InputError(f"{name}: found {value!r:.80}, expected a whole number, {least} .. {most}")
    number: int = value.__index__()  # type: ignore[attr-defined]
    return number


def check_generators(generator: object) -> None:
    """Refuse what is no source of randomness of torch.

    Args:
        generator: one generator, several, or None.

    Raises:
        InputError: it is something else, such as a seed or NumPy's generator.
    """
    import torch

    if generator is None:
        return
    several = isinstance(generator, Sequence) and not isinstance(generator, str)
    for one in generator if isinstance(generator, Sequence) and several else [generator]:
        if not isinstance(one, torch.Generator):
            raise InputError(
                f"generator: found a {type(one).__name__}, expected torch.Generator; "
                "torch.Generator().manual_seed(0) makes one"
            )


def require_data(tensor: torch.Tensor, name: str) -> None:
    """Refuse a tensor of the device "meta", which has a shape and no values.

    Raises:
        InputError: naming it.
    """
    if tensor.is_meta:
        raise InputError(f"{name}: a tensor on the device 'meta' holds no values")


def require_regular(path: Path) -> None:
    """Refuse a pipe, a device or a folder where a file is read; a missing file passes.

    Raises:
        InputError: naming it.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: no regular file, but a folder, a pipe or a device")
