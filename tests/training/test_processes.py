"""The same run whatever the number of processes: the real stages, on one and on two."""

import json
import shutil
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

STEPS = 50
HANDED_OVER = 40
SETTINGS = (
    f"steps={STEPS}",
    "batch_size=4",
    f"checkpoint_every={HANDED_OVER}",
    "validate_every=25",
)
Start = Callable[..., BaseProcess]


def train(start: Start, stage: str, output: Path, processes: int) -> None:
    """Train ``stage`` on one process or on two that talk over gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = [
        start(
            stage,
            output,
            *SETTINGS,
            *([f"JOIN=[{number}, {processes}, {port}]"] if processes > 1 else []),
        )
        for number in range(processes)
    ]
    for process in group:
        process.join(timeout=300)
    assert [process.exitcode for process in group] == [0] * processes


def hand_over(source: Path, target: Path) -> None:
    """Copy a run as it was when its first checkpoint had been written."""
    name = f"step_{HANDED_OVER:08d}"
    (target / "checkpoints").mkdir(parents=True)
    for end in (".pt", ".json"):
        shutil.copy(source / "checkpoints" / (name + end), target / "checkpoints")
    shutil.copy(source / "metrics.jsonl", target)


def losses(directory: Path) -> dict[str, list[float]]:
    """Return the curve of every phase's loss."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line if name.endswith("/loss")}
    return {name: [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize("stage", ["vae", "ldm", "prior"])
def test_the_number_of_processes_changes_nothing(stage: str, start: Start, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train(start, stage, one, processes=1)
    train(start, stage, two, processes=2)
    curves = losses(one)
    assert {len(curve) for name, curve in curves.items() if "discriminator" not in name} == {STEPS}
    handed = {"to two": (one, 2), "to one": (two, 1)}
    for name, (source, processes) in handed.items():
        hand_over(source, tmp_path / name)
        train(start, stage, tmp_path / name, processes)
    for other in ("two", *handed):
        for name, curve in losses(tmp_path / other).items():
            assert curve == pytest.approx(curves[name], rel=1e-5), (other, name)
