"""Checks of what a saved pipeline holds, before anything is computed with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from radiodiff.errors import InputError

Component = TypeVar("Component")

WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_index(directory: str | Path, needed: Sequence[str], kind: str | None) -> dict[str, Any]:
    """Read the ``model_index.json`` of a saved pipeline.

    Args:
        directory: what ``save_pretrained`` wrote.
        needed: keys that the index must have.
        kind: class name that it must have; None takes any.

    Raises:
        InputError: there is no such file, it is no JSON, names another class or lacks a key.
    """
    index = Path(directory) / "model_index.json"
    if not index.is_file():
        raise InputError(f"{directory}: no model_index.json, so no saved {kind or 'pipeline'}")
    try:
        config = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{index}: not valid JSON") from None
    found = config.get("_class_name") if isinstance(config, dict) else type(config).__name__
    if not isinstance(config, dict) or (kind is not None and found != kind):
        raise InputError(f"{index}: found a {found}, expected a {kind or 'mapping of keys'}")
    missing = [key for key in needed if key not in config]
    if missing:
        raise InputError(f"{index}: the key {missing[0]!r} is missing")
    return config


def check_weights(network: nn.Module, directory: Path) -> None:
    """Compare a loaded network with the file of its weights, and refuse NaN and infinity.

    diffusers itself fills missing weights with random numbers and ignores superfluous ones.

    Args:
        network: what was loaded.
        directory: the folder it was loaded from; files other than ``WEIGHTS`` are not compared.

    Raises:
        InputError: naming the first weight that is missing, superfluous, of another shape, or NaN.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    file = directory / WEIGHTS
    if file.is_file():
        try:
            with safe_open(file, "pt") as weights:
                names = list(weights.keys())
                found = {name: tuple(weights.get_slice(name).get_shape()) for name in names}
        except SafetensorError as error:
            raise InputError(f"{file}: cannot be read ({error})") from None
        for what, differing in (
            ("lacks", wanted.keys() - found.keys()),
            ("has the unknown weight", found.keys() - wanted.keys()),
        ):
            if differing:
                raise InputError(
                    f"{file}: {what} {min(differing)} (and {len(differing) - 1} more) of a "
                    f"{type(network).__name__}"
                )
        for name, shape in wanted.items():
            if found[name] != shape:
                raise InputError(f"{file}: {name} has shape {found[name]}, expected {shape}")
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise InputError(f"{directory}: the weight {name} holds NaN or infinity")


def load_component(
    component: type[Component], directory: Path, dtype: torch.dtype | None = None
) -> Component:
    """Load a network or a scheduler that ``save_pretrained`` wrote, and check its weights.

    Args:
        component: a class of diffusers or of this package.
        directory: its folder in a saved pipeline.
        dtype: precision of a network; None keeps what diffusers loads.

    Raises:
        InputError: it cannot be loaded, its weights are not those of the class, or some are not
            finite.
    """
    # This name is understood by all versions of diffusers that are supported.
    options = {} if dtype is None else {"torch_dtype": dtype}
    try:
        loaded: Component = component.from_pretrained(directory, **options)  # type: ignore[attr-defined]
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{directory}: cannot be loaded as {component.__name__} ({reason})"
        ) from None
    if isinstance(loaded, nn.Module):
        check_weights(loaded, directory)
    return loaded
