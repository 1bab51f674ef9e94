"""Runs killed with SIGKILL end with the same bytes as one that is never killed."""

import multiprocessing
import runpy
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from radiodiff.models.vae import build_vae
from radiodiff.training.checkpoints import load_newest, newest_step

SCRIPT = Path(__file__).with_name("small_stages.py")
STEPS = 36
KILLS = 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Path:
    """Maps of 16 x 16 and an autoencoder for the latent diffusion."""
    root = write_radio_maps(
        tmp_path_factory.mktemp("maps"), maps=(1, 2, 3), transmitters=2, shape=(16, 16)
    )
    torch.manual_seed(0)
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4, mid_attention=False)
    vae.save_pretrained(root / "vae")
    return root


def start(stage: str, root: Path, output: Path, *settings: str) -> BaseProcess:
    """Train in a process of its own, forked from one that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["radiodiff.training.tasks"])
    arguments = [stage, str(root), str(output), f"steps={STEPS}", *settings]
    process = context.Process(
        target=runpy.run_path, args=(str(SCRIPT), {"ARGUMENTS": arguments}, "__main__")
    )
    process.start()
    return process


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
    stage: str, root: Path, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    unbroken = start(stage, root, whole)
    random = np.random.default_rng(0)
    for kill in range(KILLS):
        if kill % 2:
            # Inside the writing: of the data, or of its checksum when the data are there already.
            process = start(stage, root, killed, f"DIE_IN_WRITE={random.integers(1, 3)}")
        else:
            process = start(stage, root, killed)
            metrics = killed / "metrics.jsonl"
            kill_when_grown(process, metrics, random.integers(1, 400), random.uniform(0, 0.03))
        assert finish(process) == -signal.SIGKILL
    assert finish(unbroken) == 0
    assert (newest_step(killed / "checkpoints") or 0) < STEPS
    assert finish(start(stage, root, killed)) == 0
    assert contents(whole) == contents(killed)
    one, other = (load_newest(directory / "checkpoints") for directory in (whole, killed))
    paths = tensors(one)
    assert {path.split("/")[1] for path in paths} >= {"modules", "optimizers", "ema", "step"}
    about_output = "/experiment/output"
    assert {p: v for p, v in paths.items() if p != about_output} == {
        p: v for p, v in tensors(other).items() if p != about_output
    }
