"""The one training loop: precision, accumulation, averaging, logging, checkpoints, resume.

What a step computes is a :class:`~radiodiff.training.trainer.Task`; the loop knows only that a task
has one or more phases, each a module that returns a loss, and each with an optimiser.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from radiodiff.errors import InputError
from radiodiff.training.checkpoints import CheckpointWriter, load_newest, newest_step
from radiodiff.training.records import Records
from radiodiff.training.settings import TrainSettings
from radiodiff.training.stream import MapDataset, SampleStream, StepSampler, make_loader
from radiodiff.training.trainer import Task, Trainer


def train(
    task: Task,
    maps: MapDataset,
    settings: TrainSettings,
    directory: Path,
    experiment: dict[str, Any],
    resume: bool,
) -> None:
    """Run ``task`` on ``maps`` until ``settings.steps``, then export to ``directory / "model"``.

    Args:
        task: the stage to train.
        maps: the training maps.
        settings: length, batch, precision, logging and checkpoints.
        directory: run directory (metrics.jsonl, tensorboard/, checkpoints/, model/).
        experiment: the resolved configuration, stored in every checkpoint.
        resume: go on from the newest complete checkpoint in ``directory``.

    Raises:
        InputError: the directory holds a run and ``resume`` is false, the checkpoint is damaged or
            of another architecture, the batch does not divide among the processes, or the loss is
            not finite.
    """
    accelerator = Accelerator(
        mixed_precision="no" if settings.precision == "fp32" else settings.precision
    )
    _check_batch(settings, accelerator.num_processes)
    run = Trainer(task, settings, accelerator)
    checkpoints = directory / "checkpoints"
    first_step, best = _restore(run, checkpoints, directory, resume)
    if first_step >= settings.steps:
        print(f"{directory}: already trained for {first_step} of {settings.steps} steps")
    writer = CheckpointWriter(checkpoints, settings.keep_last, settings.keep_every)
    sampler = StepSampler(
        first_step,
        settings.steps,
        settings.batch_size,
        settings.accumulation,
        accelerator.process_index,
        accelerator.num_processes,
    )
    stream = SampleStream(maps, task.fields, task.draw, settings.seed, settings.augment)
    on_gpu = accelerator.device.type == "cuda"
    batches = iter(make_loader(stream, sampler, settings.num_workers, pin_memory=on_gpu))
    records = Records(directory, first_step, settings.steps, accelerator.is_main_process)

    def save(step: int) -> None:
        if accelerator.is_main_process:
            writer.save(step, {"step": step, "best": best, "experiment": experiment} | run.state())

    clock = _Clock()
    with _stop_signals() as stop, records:
        try:
            for step in range(first_step, settings.steps):
                with clock.waiting():
                    micro_batches = [run.place(next(batches)) for _ in range(settings.accumulation)]
                loss, values, stopping = run.update(step, micro_batches, stop.requested)
                if not math.isfinite(loss):
                    names = gather_object([n for batch in micro_batches for n in batch["name"]])
                    writer.wait()
                    raise InputError(_divergence(step, loss, names, newest_step(checkpoints)))
                done = step + 1
                records.advance(loss)
                if done % settings.log_every == 0 or done == settings.steps:
                    records.metrics(step, run.mean(values))
                    records.scalars(step, clock.rates(settings.batch_size))
                if done % settings.validate_every == 0 or done == settings.steps:
                    with run.averaged_weights():
                        scores = _validate(task, settings.validation_maps, accelerator)
                        if accelerator.is_main_process:
                            records.images(step, task.preview())
                    best = min(best, scores["validation/score"])
                    records.metrics(step, scores | {"validation/best": best})
                if done % settings.checkpoint_every == 0 or done == settings.steps or stopping:
                    save(done)
                if stopping:
                    print(f"stopped on request after step {done}; add --resume to go on")
                    return
        finally:
            writer.close()
    if accelerator.is_main_process:
        with run.averaged_weights():
            task.export(directory / "model")
    accelerator.wait_for_everyone()


class _Clock:
    """Share of time spent waiting for data, and steps in each second."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._waited = 0.0
        self._steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start
        self._steps += 1

    def rates(self, batch_size: int) -> dict[str, float]:
        """Return the rates since the last call."""
        elapsed = max(time.perf_counter() - self._start, 1e-9)
        rates = {
            "speed/samples_per_second": self._steps * batch_size / elapsed,
            "speed/data_wait_share": self._waited / elapsed,
        }
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0
        return rates


@dataclass
class _StopRequest:
    requested: bool = False


@contextmanager
def _stop_signals() -> Iterator[_StopRequest]:
    """Turn SIGTERM and SIGINT into a request to save and leave after the present step."""
    request = _StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        request.requested = True

    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _check_batch(settings: TrainSettings, num_processes: int) -> None:
    parts = num_processes * settings.accumulation
    if settings.batch_size % parts:
        raise InputError(
            f"train.batch_size: found {settings.batch_size}, must be a multiple of {parts} "
            f"({num_processes} processes x {settings.accumulation} micro-batches)"
        )


def _restore(run: Trainer, checkpoints: Path, directory: Path, resume: bool) -> tuple[int, float]:
    """Return the first step to do and the best validation score so far."""
    state = load_newest(checkpoints) if checkpoints.is_dir() else None
    if state is None:
        return 0, float("inf")
    if not resume:
        raise InputError(
            f"{directory}: holds a run up to step {state['step']}; add --resume to go on with it "
            "or choose another output"
        )
    try:
        run.load(state)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"{checkpoints}: the checkpoint belongs to another architecture than the configuration "
            f"describes ({reason})"
        ) from error
    return int(state["step"]), float(state["best"])


def _validate(task: Task, count: int, accelerator: Accelerator) -> dict[str, float]:
    """Score the validation maps, each on one process, and average."""
    mine = range(accelerator.process_index, count, accelerator.num_processes)
    gathered: list[dict[str, list[float]]] = gather_object([task.validate(mine)])
    means = {}
    for name in gathered[0]:
        scores = [score for part in gathered for score in part[name]]
        means[f"validation/{name}"] = sum(scores) / len(scores)
    return means


def _divergence(step: int, loss: float, names: list[str], last_good: int | None) -> str:
    kept = f"checkpoint of step {last_good}" if last_good is not None else "no checkpoint yet"
    return (
        f"step {step}: the loss is {loss} for maps {', '.join(names[:8])}; last good: {kept}. "
        "Lower optimizer.learning_rate, set optimizer.gradient_clip or use precision fp32"
    )
