"""Runs killed with SIGKILL end with the same bytes as one that is never killed."""

import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from radiodiff.training.checkpoints import load_newest, newest_step

STEPS = 36
LENGTH = f"steps={STEPS}"
KILLS = 10


def finish(process: BaseProcess) -> int | None:
    process.join(timeout=300)
    return process.exitcode


def kill_when_grown(process: BaseProcess, file: Path, size: int, delay: float) -> None:
    """Kill ``process`` ``delay`` seconds after ``file`` has grown by ``size`` bytes."""
    begin = file.stat().st_size if file.exists() else 0
    while process.is_alive() and (not file.exists() or file.stat().st_size < begin + size):
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for folder in ("model", "best")
        for path in (directory / folder).rglob("*")
        if path.is_file()
    } | {"metrics.jsonl": (directory / "metrics.jsonl").read_bytes()}


def tensors(value: object, path: str = "") -> dict[str, object]:
    """Return a checkpoint as {path of the value: value}, tensors as bytes."""
    if isinstance(value, torch.Tensor):
        return {path: (value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())}
    if isinstance(value, dict | list | tuple):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, entry in entries for k, v in tensors(entry, f"{path}/{key}").items()}
    return {path: value}


@pytest.mark.parametrize("stage", ["vae", "ldm"])
def test_a_run_killed_ten_times_is_the_run_never_killed(
    stage: str, start: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = start(stage, whole, LENGTH)
    random = np.random.default_rng(0)
    for kill in range(KILLS):
        if kill % 2:
            # Inside the writing: of the data, or of its checksum when the data are there already.
            process = start(stage, killed, LENGTH, f"DIE_IN_WRITE={random.integers(1, 3)}")
        else:
            process = start(stage, killed, LENGTH)
            metrics = killed / "metrics.jsonl"
            kill_when_grown(process, metrics, random.integers(1, 400), random.uniform(0, 0.03))
        assert finish(process) == -signal.SIGKILL
    assert finish(unbroken) == 0
    assert (newest_step(killed / "checkpoints") or 0) < STEPS
    assert finish(start(stage, killed, LENGTH)) == 0
    assert contents(whole) == contents(killed)
    one, other = (load_newest(directory / "checkpoints") for directory in (whole, killed))
    paths = tensors(one)
    assert {path.split("/")[1] for path in paths} >= {"modules", "optimizers", "ema", "step"}
    about_output = "/experiment/output"
    assert {p: v for p, v in paths.items() if p != about_output} == {
        p: v for p, v in tensors(other).items() if p != about_output
    }


def test_a_run_goes_on_where_its_directory_was_moved_to(
    start: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert finish(start("vae", old, "steps=4", "checkpoint_every=4")) == 0
    old.rename(new)
    assert finish(start("vae", new, "steps=6", "checkpoint_every=2")) == 0
    assert newest_step(new / "checkpoints") == 6
