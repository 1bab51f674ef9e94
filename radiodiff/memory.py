"""The most memory that this process, or its GPU, has used."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import torch

GIBIBYTE = 2**30
STATUS = Path("/proc/self/status")
"""Where Linux tells of a process; other systems have no such file."""


def peak_memory(device: torch.device | None = None) -> float:
    """Return the peak memory in GiB: allocated on a CUDA device, resident on any other.

    Args:
        device: where the work was done; None means the CPU.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIBIBYTE
    if STATUS.is_file():
        # getrusage would include the peak of the parent before this process was started.
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / GIBIBYTE
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return float(memory.peak_wset) / GIBIBYTE
    try:
        import resource
    except ImportError:
        return float(memory.rss) / GIBIBYTE

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / GIBIBYTE if sys.platform == "darwin" else peak * 1024 / GIBIBYTE
