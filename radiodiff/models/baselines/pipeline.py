"""A trained baseline with what it must be shown: prompt features, and measurements or none."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import Tensor

import radiodiff
from radiodiff.data.measurements import Measurements
from radiodiff.data.prompts import PAPER_PROMPT, check_features
from radiodiff.errors import InputError
from radiodiff.models.loading import load_component, read_index
from radiodiff.units import model_to_gray
from radiodiff.weight_sources import find_weights


class BaselinePipeline(DiffusionPipeline):
    """Predicts radio maps in one pass of a network.

    Args:
        network: maps (N, C, H, W) channels to gray, one map or several of which the last counts;
            its configuration has ``in_channels``.
        prompt_features: names from ``radiodiff.data.prompts.PROMPT_FEATURES``, in channel order.
        takes_measurements: whether a channel of measured values follows them.

    Raises:
        InputError: unknown prompt features, or another number than the network has channels.
    """

    network: ModelMixin

    def __init__(
        self,
        network: ModelMixin,
        prompt_features: Sequence[str] = PAPER_PROMPT,
        takes_measurements: bool = False,
    ) -> None:
        super().__init__()
        check_features(prompt_features)
        found = len(prompt_features) + takes_measurements
        if found != network.config.in_channels:
            raise InputError(
                f"input channels: found {found}, the network has {network.config.in_channels}"
            )
        self.register_modules(network=network)
        self.register_to_config(
            prompt_features=list(prompt_features), takes_measurements=takes_measurements
        )

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, dtype: torch.dtype | None = None
    ) -> BaselinePipeline:
        """Load what ``save_pretrained`` wrote.

        Args:
            directory: holds ``model_index.json`` and the folder ``network``; or a name of weights
                (:func:`radiodiff.weight_sources.find_weights`).
            dtype: precision of the network; None keeps that of the files.

        Raises:
            InputError: the directory is no saved BaselinePipeline.
        """
        directory = find_weights(directory)
        needed = ("network", "prompt_features", "takes_measurements")
        config = read_index(directory, needed, cls.__name__)
        network_class = _network_class(*config["network"])
        if network_class is None:
            raise InputError(
                f"{directory}: found the network {config['network']}, expected one of radiodiff"
            )
        network = load_component(network_class, directory / "network", dtype)
        return cls(network, config["prompt_features"], config["takes_measurements"])

    @torch.inference_mode()
    def __call__(self, prompt: Tensor, measurements: Measurements | None = None) -> Tensor:
        """Predict radio maps with the network as it is; a loaded one is in evaluation mode.

        Args:
            prompt: (N, C, H, W) in [-1, 1], channels in the order of ``prompt_features``.
            measurements: of the N maps; a network that takes none does not look at them.

        Returns:
            (N, H, W) float32 gray in [0, 1].

        Raises:
            InputError: measurements are missing, or the network refuses channels or size.
        """
        samples = None
        if self.config.takes_measurements:
            if measurements is None:
                raise InputError("measurements: none given, this network was trained with them")
            samples = (measurements.values, measurements.mask)
        x = network_input(prompt, samples).to(self._execution_device, self.network.dtype)
        output = self.network(x)
        gray = output[-1] if isinstance(output, tuple) else output
        return gray[:, 0].float().clamp(0.0, 1.0)


def _network_class(module: object, name: object) -> type[ModelMixin] | None:
    """Return a network of this package by the names that diffusers saves; None if it is none."""
    if not isinstance(module, str) or not module.startswith(f"{radiodiff.__name__}."):
        return None
    try:
        found = getattr(importlib.import_module(module), str(name), None)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, ModelMixin) else None


def network_input(prompt: Tensor, samples: tuple[Tensor, Tensor] | None) -> Tensor:
    """Stack what a baseline sees, masks as 0 and 1 as RadioUNet's authors give them.

    Args:
        prompt: (N, C, H, W) in [-1, 1].
        samples: measured values in model range and the bool mask of where, (N, 1, H, W) each.

    Returns:
        (N, C, H, W), or (N, C + 1, H, W) with the measured gray values, 0 where there are none.
    """
    channels = model_to_gray(prompt)
    if samples is None:
        return channels
    values, mask = samples
    gray = torch.where(mask, model_to_gray(values), torch.zeros_like(values))
    return torch.cat((channels, gray.to(channels)), dim=1)
