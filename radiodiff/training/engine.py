"""The one training loop: precision, accumulation, averaging, logging, checkpoints, resume.

What a step computes is a :class:`~radiodiff.training.trainer.Task`; the loop knows only that a task
has one or more phases, each a module that returns a loss, and each with an optimiser.
"""

from __future__ import annotations

import math
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate.utils import gather_object
from filelock import FileLock, Timeout

from radiodiff.errors import InputError
from radiodiff.memory import peak_memory
from radiodiff.processes import open_accelerator
from radiodiff.training.checkpoints import CheckpointWriter, load_newest, newest_step
from radiodiff.training.faults import explained
from radiodiff.training.pictures import are_due, write_pictures
from radiodiff.training.progress import Progress
from radiodiff.training.records import Records
from radiodiff.training.settings import TrainSettings
from radiodiff.training.stream import Item, MapDataset, SampleStream, StepSampler, make_loader
from radiodiff.training.throughput import Clock, measure_peak
from radiodiff.training.trainer import Task, Trainer


def train(
    task: Task,
    maps: MapDataset,
    settings: TrainSettings,
    directory: Path,
    experiment: dict[str, Any],
    resume: bool,
    notes: Sequence[str] = (),
) -> None:
    """Run ``task`` on ``maps`` until ``settings.steps``, then export to ``directory / "model"``.

    Args:
        task: the stage to train.
        maps: the training maps.
        settings: length, batch, precision, logging and checkpoints.
        directory: run directory (metrics.jsonl, learning_curve.png, previews/, tensorboard/,
            checkpoints/, best/, model/).
        experiment: the resolved configuration, stored in every checkpoint.
        resume: go on from the newest complete checkpoint in ``directory``.
        notes: what has changed since, for metrics.jsonl.

    Raises:
        InputError: the directory holds a run and ``resume`` is false, the checkpoint is damaged or
            of another architecture, the batch does not divide among the processes, the loss is not
            finite, or the machine is at fault (:mod:`radiodiff.training.faults`).
    """
    accelerator = open_accelerator(settings.precision)
    _check_batch(settings, accelerator.num_processes)
    with (
        explained(directory, settings, accelerator.num_processes),
        _alone(directory, accelerator.is_main_process),
    ):
        clock = Clock(settings.batch_size, measure_peak(accelerator.device, settings.precision))
        run = Trainer(task, settings, accelerator, clock)
        progress = _restore(run, directory, resume)
        if progress.step >= settings.steps:
            print(f"{directory}: already trained for {progress.step} of {settings.steps} steps")
        if _loop(run, progress, maps, settings, directory, experiment, clock, notes):
            with run.averaged_weights():
                if accelerator.is_main_process:
                    export(task, directory / "model")
            accelerator.wait_for_everyone()


def _loop(
    run: Trainer,
    progress: Progress,
    maps: MapDataset,
    settings: TrainSettings,
    directory: Path,
    experiment: dict[str, Any],
    clock: Clock,
    notes: Sequence[str],
) -> bool:
    """Make the updates that are left; return whether all are made (false: asked to stop)."""
    task, accelerator = run.task, run.accelerator
    checkpoints = directory / "checkpoints"
    first_step = progress.step
    writer = CheckpointWriter(checkpoints, settings.keep_last, settings.keep_every)
    records = Records(
        directory, first_step, settings.steps, accelerator.is_main_process, settings.trackers
    )
    batches = training_batches(run, maps, first_step)
    phase_starts = {first_step, *(phase.first_step for phase in task.phases)}
    with _stop_signals() as stop, records:
        for note in notes if first_step else ():
            records.event(first_step - 1, "changed", note)
        try:
            for step in range(first_step, settings.steps):
                with clock.span("data_wait"):
                    micro_batches = [run.place(next(batches)) for _ in range(settings.accumulation)]
                if step in phase_starts:
                    clock.operations = run.operations(step, micro_batches)
                loss, values, stopping = run.update(step, micro_batches, stop.requested)
                clock.step()
                if not math.isfinite(loss):
                    writer.wait()
                    names = _names(micro_batches)
                    raise InputError(_divergence(step, loss, names, newest_step(checkpoints)))
                if median := progress.exceeds(loss, settings.spike_factor):
                    records.event(step, "spike", _spike(loss, median, _names(micro_batches)))
                progress.step = step + 1
                records.advance(loss)
                if _due(progress.step, settings.histogram_every):
                    records.histograms(step, run.histograms())
                if _due(progress.step, settings.log_every) or progress.step == settings.steps:
                    records.metrics(step, run.mean(values))
                    speed = clock.rates() | {"memory_gib": peak_memory(accelerator.device)}
                    records.scalars(step, {f"speed/{name}": rate for name, rate in speed.items()})
                if _due(progress.step, settings.validate_every) or progress.step == settings.steps:
                    with run.averaged_weights(), clock.span("validation"):
                        _validate(run, progress, settings.validation_maps, directory, records)
                if (
                    stopping
                    or _due(progress.step, settings.checkpoint_every)
                    or progress.step == settings.steps
                ):
                    with clock.span("checkpoint"):
                        state = run.state()
                        if accelerator.is_main_process:
                            about = progress.state() | {"experiment": experiment}
                            writer.save(progress.step, about | state)
                if stopping:
                    print(f"stopped on request after step {progress.step}; add --resume to go on")
                    return False
        finally:
            writer.close()
    return True


def export(task: Task, directory: Path) -> None:
    """Write the trained networks to ``directory``, whole or not at all."""
    partial, old = (directory.with_name(directory.name + end) for end in (".partial", ".old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        task.export(partial)
    except BaseException:  # a full disk, say
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if directory.is_dir():
        directory.rename(old)
    partial.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def training_batches(run: Trainer, maps: MapDataset, first_step: int) -> Iterator[Item]:
    """Return this process' micro-batches from ``first_step`` on, prefetched."""
    settings, accelerator = run.settings, run.accelerator
    sampler = StepSampler(
        first_step,
        settings.steps,
        settings.batch_size,
        settings.accumulation,
        accelerator.process_index,
        accelerator.num_processes,
    )
    stream = SampleStream(
        maps,
        run.task.fields,
        run.task.draw,
        settings.seed,
        settings.augment,
        None if settings.window is None else (settings.window, settings.window),
    )
    on_gpu = accelerator.device.type == "cuda"
    return iter(make_loader(stream, sampler, settings.num_workers, pin_memory=on_gpu))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


@dataclass
class _StopRequest:
    requested: bool = False


@contextmanager
def _stop_signals() -> Iterator[_StopRequest]:
    """Turn SIGTERM and SIGINT into a request to save and leave after the present step."""
    request = _StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        request.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield request  # signals reach the main thread alone
        return
    previous = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _alone(directory: Path, main: bool) -> Iterator[None]:
    """Keep a second run out of a run directory; the lock ends with the process, however it ends.

    Raises:
        InputError: another run is under way there.
    """
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        if main:
            directory.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout:
        raise InputError(
            f"{directory}: another run is under way there; wait for it or choose another output"
        ) from None
    except NotImplementedError:
        pass  # a file system without locks
    try:
        yield
    finally:
        lock.release()


def _check_batch(settings: TrainSettings, num_processes: int) -> None:
    parts = num_processes * settings.accumulation
    if settings.batch_size % parts:
        raise InputError(
            f"train.batch_size: found {settings.batch_size}, must be a multiple of {parts} "
            f"({num_processes} processes x {settings.accumulation} micro-batches)"
        )


def _restore(run: Trainer, directory: Path, resume: bool) -> Progress:
    """Load the newest checkpoint into ``run``; return where the run stands."""
    checkpoints = directory / "checkpoints"
    state = load_newest(checkpoints) if checkpoints.is_dir() else None
    if state is None:
        return Progress()
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
            f"{checkpoints}: the checkpoint belongs to another architecture or optimiser than the "
            f"configuration describes ({reason})"
        ) from error
    return Progress(state["step"], state["best"], state["losses"])


def _validate(
    run: Trainer, progress: Progress, count: int, directory: Path, records: Records
) -> None:
    """Score the validation maps, each on one process; keep the best weights as ``best/``."""
    task, accelerator = run.task, run.accelerator
    mine = range(accelerator.process_index, count, accelerator.num_processes)
    gathered: list[dict[str, list[float]]] = gather_object([task.validate(mine)])
    means = {}
    for name in gathered[0]:
        scores = [score for part in gathered for score in part[name]]
        means[f"validation/{name}"] = sum(scores) / len(scores)
    step = progress.step - 1
    better = means["validation/score"] < progress.best
    progress.best = min(progress.best, means["validation/score"])
    records.metrics(step, means | {"validation/best": progress.best})
    if accelerator.is_main_process:
        previews = task.preview()
        records.images(step, previews)
        if progress.step == run.settings.steps or are_due(directory):
            write_pictures(directory, previews)
        if better:
            export(task, directory / "best")


def _names(micro_batches: list[Item]) -> list[str]:
    """Return the names of the maps of an update on all processes."""
    names: list[str] = gather_object([n for batch in micro_batches for n in batch["name"]])
    return names


def _spike(loss: float, median: float, names: list[str]) -> str:
    return (
        f"loss {loss:.4g} is {loss / median:.1f} times the median of the last ones, for maps "
        f"{', '.join(names[:8])}"
    )


def _divergence(step: int, loss: float, names: list[str], last_good: int | None) -> str:
    kept = f"checkpoint of step {last_good}" if last_good is not None else "no checkpoint yet"
    return (
        f"step {step}: the loss is {loss} for maps {', '.join(names[:8])}; last good: {kept}. "
        "Lower optimizer.learning_rate, set optimizer.gradient_clip or use precision fp32"
    )
