"""How fast a run is and what its time goes into."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from radiodiff.config import Precision
from radiodiff.training.stream import Item

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class Clock:
    """Rates of a run between two calls of :meth:`rates`; a monotonic clock, not the time of day.

    Spans are measured on the host: on a GPU they hold what the host waits for.

    Args:
        batch_size: samples in one step.
        peak: operations per second the device can reach, see :func:`measure_peak`; None leaves
            the share of it out.

    Attributes:
        operations: floating-point operations of one step on this device.
    """

    def __init__(self, batch_size: int, peak: float | None = None) -> None:
        self._batch_size = batch_size
        self._peak = peak
        self.operations = 0
        self._reset()

    def _reset(self) -> None:
        self._start = time.perf_counter()
        self._spans: defaultdict[str, float] = defaultdict(float)
        self._steps = 0

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Count the time inside the block as ``name``."""
        start = time.perf_counter()
        yield
        self._spans[name] += time.perf_counter() - start

    def step(self) -> None:
        """Count a step."""
        self._steps += 1

    def rates(self) -> dict[str, float]:
        """Return rates and shares since the last call, and start anew."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        rates = {
            "steps_per_second": self._steps / elapsed,
            "samples_per_second": self._steps * self._batch_size / elapsed,
        } | {f"{name}_share": seconds / elapsed for name, seconds in self._spans.items()}
        if self._peak is not None:
            rates["peak_share"] = self.operations * self._steps / elapsed / self._peak
        self._reset()
        return rates


def count_operations(objective: nn.Module, batch: Item, step: int) -> int:
    """Return the operations of matrix products and convolutions, forward and backward.

    Counts on a copy of ``objective``: counting takes kernels apart, which changes the last bits of
    what they compute.
    """
    twin = copy.deepcopy(objective)
    devices = [value.device for value in batch.values() if isinstance(value, Tensor)]
    with (
        torch.random.fork_rng([d for d in devices[:1] if d.type == "cuda"]),
        FlopCounterMode(display=False) as counter,
    ):
        loss, _ = twin(batch, step)
        loss.backward()
    return counter.get_total_flops()


def measure_peak(device: torch.device, precision: Precision, repeats: int = 3) -> float:
    """Return the operations per second of large matrix products on ``device``.

    A share of peak refers to this: to what the device reaches, not to what its maker prints.
    """
    size = 8192 if device.type == "cuda" else 768
    matrix = torch.ones(size, size, device=device, dtype=DTYPES[precision])
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
