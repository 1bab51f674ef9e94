"""Reading weight files without running what they contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from radiodiff.errors import InputError


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a ``.safetensors`` file, or a pickle from which only tensors and containers are taken.

    Raises:
        InputError: no such file, or not a checkpoint that can be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or foreign file makes the readers raise
        # torch's message advises to load the file without its safeguard: it is not passed on.
        raise InputError(
            f"{path}: damaged, or holds more than tensors and plain values "
            f"({type(error).__name__}); such a file could run code and is not loaded"
        ) from None
    if not isinstance(checkpoint, dict):
        raise InputError(f"{path}: expected a dict of tensors, found {type(checkpoint).__name__}")
    return checkpoint
