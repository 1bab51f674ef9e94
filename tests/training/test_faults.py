"""What machines do to runs: each fault is one line, and the last checkpoint stays."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radiodiff.cli import open_run_directory, run_main
from radiodiff.config import Settings
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError
from radiodiff.training.checkpoints import newest_step
from radiodiff.training.faults import out_of_memory_advice


def in_update(toy: ModuleType, step: int, act: Callable[[], None]) -> Any:
    """Return a toy stage whose update ``step`` begins with ``act``."""
    stage = toy.ToyStage()
    forward = stage.phases[0].objective.forward

    def acting(batch: dict[str, Tensor], now: int) -> object:
        if now == step:
            act()
        return forward(batch, now)

    stage.phases[0].objective.forward = acting
    return stage


def allocate_on_cpu() -> None:
    torch.empty(2**55)


def allocate_on_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def allocate_array() -> None:
    np.empty(2**55)


@pytest.mark.parametrize("allocate", [allocate_on_cpu, allocate_on_gpu, allocate_array])
def test_out_of_memory_names_the_batch_to_try(
    toy: ModuleType, tmp_path: Path, allocate: Callable[[], None]
) -> None:
    message = r"out of memory with 4 maps.*try 2: train.accumulation=2 .*train.batch_size=2 "
    with pytest.raises(InputError, match=message):
        toy.run(tmp_path, 12, stage=in_update(toy, 7, allocate))
    assert newest_step(tmp_path / "checkpoints") == 5


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "processes", "advice"),
    [
        (64, 1, 2, "32 maps at a time in each process; try 16: train.accumulation=2 "),
        (48, 2, 1, "24 maps at a time in each process; try 12: train.accumulation=4 "),
        (6, 2, 1, "3 maps at a time in each process; try 1: train.accumulation=6 "),
        (4, 4, 1, "1 maps at a time in each process; try train.checkpoint_activations=true"),
    ],
)
def test_the_advised_batch_divides(
    toy: ModuleType, batch_size: int, accumulation: int, processes: int, advice: str
) -> None:
    settings = toy.settings(1, batch_size=batch_size, accumulation=accumulation)
    assert advice in out_of_memory_advice(settings, processes)


def test_a_bug_keeps_its_traceback(toy: ModuleType, tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        toy.run(tmp_path, 3, stage=in_update(toy, 1, fail))


def test_a_killed_worker_is_one_line(toy: ModuleType, tmp_path: Path) -> None:
    main = os.getpid()

    class Deadly(toy.Maps):
        fetched = 0

        def __getitem__(self, index: int) -> dict[str, object]:
            self.fetched += 1
            if os.getpid() != main and self.fetched > 40:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    with pytest.raises(InputError, match=r"DataLoader worker .*lower train.num_workers and resume"):
        toy.run(tmp_path, 40, maps=Deadly(), num_workers=1)
    assert newest_step(tmp_path / "checkpoints") == 5


def test_signals_to_the_process_group_do_not_reach_the_workers(
    toy: ModuleType, tmp_path: Path
) -> None:
    main_group = os.getpgrp()

    class Grouped(toy.Maps):
        def __getitem__(self, index: int) -> dict[str, object]:
            assert os.getpgrp() != main_group
            return super().__getitem__(index)

    toy.run(tmp_path, 3, maps=Grouped(), num_workers=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_is_named_in_one_line(
    toy: ModuleType,
    tmp_path: Path,
    make_tree: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    maps = RadioMapSeer(make_tree(maps=(1, 2, 3), shape=(8, 8)), cache=False)
    gone = maps.gain_folder / f"{maps.name(7)}.png"
    stage = in_update(toy, 8, lambda: gone.unlink(missing_ok=True))
    stage.draw = lambda item, generator: {"noise": torch.zeros(1, 8, 8)}

    def main() -> None:
        toy.run(tmp_path / "run", 60, stage=stage, maps=maps, num_workers=workers)

    with pytest.raises(SystemExit) as exit_info:
        run_main(main)
    assert exit_info.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1
    assert str(gone) in lines[0]
    assert (newest_step(tmp_path / "run" / "checkpoints") or 0) >= 5


class Empty(Settings):
    pass


def test_a_directory_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Path, *args: object, **options: object) -> int:
        raise OSError(30, "Read-only file system", str(self))

    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/run.?: cannot be written \(Not a directory\)"):
        open_run_directory(tmp_path / "file" / "run", Empty())
    # Root may write anywhere its file systems let it; so let the file system refuse.
    monkeypatch.setattr(Path, "write_bytes", read_only)
    refusal = r"run/config\.yaml: cannot be written \(Read-only file system\)"
    with pytest.raises(InputError, match=refusal):
        open_run_directory(tmp_path / "run", Empty())


def test_a_disk_that_fills_up_outside_a_checkpoint_is_said(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = toy.ToyStage()

    def export(directory: Path) -> None:
        raise OSError(28, "No space left on device", str(directory / "weights.pt"))

    stage.export = export
    with pytest.raises(InputError, match=r"weights.pt: No space left on device; fix it and"):
        toy.run(tmp_path, 8, stage=stage, validate_every=7)
    assert newest_step(tmp_path / "checkpoints") == 5


def clock_going_backwards() -> Iterator[float]:
    now = 2e9
    while True:
        yield now
        now -= 3600.0


def test_nothing_depends_on_the_time_of_day(
    toy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.run(tmp_path / "forwards", 12)
    ticks = clock_going_backwards()
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    toy.run(tmp_path / "backwards", 12)
    for file in ("metrics.jsonl", "checkpoints/step_00000012.pt", "model/weights.pt"):
        assert (tmp_path / "forwards" / file).read_bytes() == (
            tmp_path / "backwards" / file
        ).read_bytes()
