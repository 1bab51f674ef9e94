"""Time per map and peak memory, each method alone in a process of its own."""

from __future__ import annotations

import multiprocessing
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from radiodiff.data.prompts import Fact, stack_features
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.data.splits import Part
from radiodiff.errors import InputError
from radiodiff.experiments.batches import WithheldError, make_batch
from radiodiff.experiments.methods import load_method, open_for
from radiodiff.experiments.settings import MethodSettings
from radiodiff.memory import peak_memory
from radiodiff.plugins import import_modules
from radiodiff.simulate.dominant_path import forget_layouts

MEBIBYTE = 1024**2


@dataclass(frozen=True)
class CostRequest:
    """What is measured; see :class:`radiodiff.experiments.reproduce.settings.CostTable`."""

    settings: MethodSettings
    imports: tuple[str, ...]
    data: DataConfig
    part: Part
    protocol: MeasurementProtocol | None
    known: tuple[Fact, ...] | None
    repeats: int
    threads: int


@dataclass(frozen=True)
class Cost:
    """What one map costs.

    Attributes:
        seconds: median, from prompt and measurements in memory to the map, without loading weights.
        prompt_seconds: median, from images in memory to the prompt of a map whose city has been
            seen before.
        first_prompt_seconds: the same of the first map of a city.
        memory_mb: peak, MiB: of the GPU's memory in tensors, or of the process on a CPU.
        idle_mb: memory of the process before the method was loaded; 0 on a GPU.
    """

    seconds: float
    prompt_seconds: float
    first_prompt_seconds: float
    memory_mb: float
    idle_mb: float


def measure_alone(request: CostRequest) -> Cost | None:
    """Run :func:`measure` in a new process, so that memory is the method's own.

    Raises:
        InputError: the method cannot run, or the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(measure, request).result()
        except BrokenProcessPool:
            raise InputError(
                f"{request.settings.source}: its process was killed (out of memory?)"
            ) from None


def measure(request: CostRequest) -> Cost | None:
    """Measure what a method costs; None where it needs measurements or a prompt that are not shown.

    Raises:
        InputError: the method or the maps cannot be loaded.
    """
    torch.set_num_threads(request.threads)
    import_modules(request.imports)
    device = torch.device(request.settings.device)
    idle = 1024.0 * peak_memory(device)
    method = load_method(request.settings)
    if method.needs_measurements and request.protocol is None:
        return None
    # What a prompt costs is not what its cache costs.
    data = request.data.model_copy(update={"prompt_cache": None})
    dataset = open_for(method, data, request.part)
    seconds, prompts = [], []
    for number in range(request.repeats + 1):
        index = number % len(dataset)
        prompts.append(_time_prompts(dataset, index))
        batch, _ = make_batch(dataset, [index], 0, request.protocol, request.known)
        _synchronise(device)
        began = time.perf_counter()
        try:
            method.predict(batch)
        except WithheldError:
            return None
        _synchronise(device)
        seconds.append(time.perf_counter() - began)
    firsts, others = zip(*prompts[1:], strict=True)
    return Cost(
        statistics.median(seconds[1:]),
        statistics.median(others),
        statistics.median(firsts),
        1024.0 * peak_memory(device),
        idle,
    )


def _time_prompts(dataset: RadioMapSeer, index: int) -> tuple[float, float]:
    """Return the seconds that the prompt of a map takes in a new city, and in one seen before."""
    scene = dataset.scene(index).extended(dataset.prompt_size)
    forget_layouts()
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        stack_features(dataset.prompt_features, scene)
        seconds.append(time.perf_counter() - began)
    return seconds[0], seconds[1]


def describe_device(device: str) -> str:
    """Name the device that costs are measured on."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
