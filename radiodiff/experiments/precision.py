"""The precision that trained networks compute in, and the memory format that goes with it."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline
from torch import nn

from radiodiff.experiments.settings import NetworkPrecision


def resolve_dtype(dtype: NetworkPrecision, device: str | torch.device) -> torch.dtype:
    """Return the precision that ``auto`` stands for on a device, or the one that is named.

    A device that lacks bfloat16 emulates it, several times slower than float32.

    Args:
        dtype: ``auto``, ``float32`` or ``bfloat16``.
        device: a torch device.
    """
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    kind = torch.device(device).type
    native = (kind == "cpu" and _processor_has_bfloat16()) or (
        kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return torch.bfloat16 if native else torch.float32


def prepare_networks(
    pipeline: DiffusionPipeline, device: str | torch.device, dtype: NetworkPrecision
) -> torch.dtype:
    """Bring the networks of a pipeline to a device, a precision and channels last, for inference.

    Args:
        pipeline: changed in place; its progress bar is switched off.
        device: a torch device.
        dtype: precision of the networks, see :func:`resolve_dtype`.

    Returns:
        The precision.
    """
    resolved = resolve_dtype(dtype, device)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            # The cast of torch itself: that of diffusers warns of layers to keep, of which there
            # are none.
            nn.Module.to(network, dtype=resolved)
            network.eval().to(memory_format=torch.channels_last)
    return resolved


def _processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX512-BF16, which AMX comes with)."""
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    # The older versions of torch that are supported have no public way to ask.
    return bool(torch.cpu._is_avx512_bf16_supported())
