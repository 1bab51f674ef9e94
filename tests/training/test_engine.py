import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from radiodiff.errors import InputError
from radiodiff.training.checkpoints import load_newest, steps_in
from radiodiff.training.engine import export

TOY = Path(__file__).with_name("toy_stage.py")


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def losses(directory: Path) -> list[float]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [v["first/loss"] for v in map(json.loads, lines) if "first/loss" in v]


def test_training_lowers_the_loss_and_exports_the_average(toy: ModuleType, tmp_path: Path) -> None:
    stage = toy.ToyStage()
    toy.run(tmp_path, 150, stage=stage)
    curve = losses(tmp_path)
    assert curve[-1] < 0.05 * curve[0]
    exported = torch.load(tmp_path / "model" / "weights.pt", weights_only=True)
    live = stage.averaged.state_dict()
    assert any(not torch.equal(exported[key], live[key]) for key in live)
    state = load_newest(tmp_path / "checkpoints")
    assert state is not None
    for shadow, value in zip(state["ema"]["shadow_params"], exported.values(), strict=True):
        assert torch.equal(shadow, value)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path / "whole", 12)
    stopped = tmp_path / "stopped"

    toy.run(stopped, 12, stage=interrupted(toy, signal.SIGTERM))
    assert not (stopped / "model").exists()
    assert steps_in(stopped / "checkpoints") == [5, 6]
    toy.run(stopped, 12, resume=True)
    whole, resumed = (load_newest(tmp_path / d / "checkpoints") for d in ("whole", "stopped"))
    assert same(whole, resumed)
    metrics = [(tmp_path / d / "metrics.jsonl").read_bytes() for d in ("whole", "stopped")]
    assert metrics[0] == metrics[1]


def test_accumulated_micro_batches_equal_one_batch(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path / "one", 8, stage=toy.ToyStage())
    toy.run(tmp_path / "two", 8, stage=toy.ToyStage(), accumulation=2)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)


def interrupted(toy: ModuleType, number: int, dropout: float = 0.3) -> Any:
    """Return a toy stage that sends itself a signal when it is first validated."""
    stage = toy.ToyStage(dropout=dropout)
    preview = stage.preview

    def interrupt() -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), number)
        return preview()

    stage.preview = interrupt
    return stage


def test_two_processes_equal_one_and_take_over_its_run(toy: ModuleType, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    one, two, handed = (tmp_path / name for name in ("one", "two", "handed"))
    for directory in (one, two, handed):
        directory.mkdir()
    toy.run(one, 20, stage=toy.ToyStage())
    for directory, resume in ((two, "new"), (handed, "resume")):
        if resume == "resume":
            toy.run(handed, 20, stage=interrupted(toy, signal.SIGINT, dropout=0.0))
        command = [*launch, str(TOY), str(directory), "20", resume]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert losses(handed) == pytest.approx(losses(one), rel=1e-5)


def test_an_existing_run_is_not_written_over(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path, 5)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="holds a run up to step 5; add --resume"):
        toy.run(tmp_path, 5)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_another_architecture_is_named(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path, 5)
    with pytest.raises(InputError, match="another architecture"):
        toy.run(tmp_path, 9, resume=True, stage=toy.ToyStage(width=4))


def test_another_optimiser_is_named(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path, 5)
    stage = toy.ToyStage()
    for phase in stage.phases:
        phase.optimizer = phase.optimizer.model_copy(update={"method": "muon"})
    with pytest.raises(InputError, match=r"or optimiser than .* parameter groups"):
        toy.run(tmp_path, 9, resume=True, stage=stage)


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_maps(
    toy: ModuleType, tmp_path: Path
) -> None:
    maps = toy.Maps()
    maps.poisoned = "7_0"
    with pytest.raises(InputError, match=r"step \d: the loss is nan for maps .*7_0.*last good"):
        toy.run(tmp_path, 30, maps=maps)


def test_a_batch_that_cannot_be_shared_is_refused(toy: ModuleType) -> None:
    with pytest.raises(ValueError, match="multiple of accumulation"):
        toy.settings(5, batch_size=4, accumulation=3)


def test_the_best_weights_are_kept_and_the_newest_are_exported(
    toy: ModuleType, tmp_path: Path
) -> None:
    stage = toy.ToyStage()
    scores = iter([0.5, 0.2, 0.4])
    at_validation = []

    def validate(indices: Sequence[int]) -> dict[str, list[float]]:
        at_validation.append({k: v.clone() for k, v in stage.averaged.state_dict().items()})
        score = next(scores)
        return {"score": [score for _ in indices]}

    stage.validate = validate
    toy.run(tmp_path, 15, stage=stage)
    best = torch.load(tmp_path / "best" / "weights.pt", weights_only=True)
    newest = torch.load(tmp_path / "model" / "weights.pt", weights_only=True)
    assert same(best, at_validation[1])
    assert same(newest, at_validation[2])
    assert not same(best, newest)
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])[
        "validation/best"
    ] == pytest.approx(0.2)


def test_a_killed_export_leaves_the_old_one_or_none(toy: ModuleType, tmp_path: Path) -> None:
    stage = toy.ToyStage()
    export(stage, tmp_path / "model")

    def fails(directory: Path) -> None:
        directory.mkdir()
        raise OSError(28, "No space left on device")

    before = (tmp_path / "model" / "weights.pt").read_bytes()
    stage.export = fails
    with pytest.raises(OSError, match="No space"):
        export(stage, tmp_path / "model")
    assert (tmp_path / "model" / "weights.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_spike_is_recorded_with_its_maps(toy: ModuleType, tmp_path: Path) -> None:
    stage = toy.ToyStage()
    forward = stage.phases[0].objective.forward

    def spiking(batch: dict[str, Any], step: int) -> Any:
        loss, logs = forward(batch, step)
        return (loss * 1000 if step == 13 else loss), logs

    stage.phases[0].objective.forward = spiking
    toy.run(tmp_path, 15, stage=stage)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    (spike,) = [line for line in lines if "spike" in line]
    assert spike["step"] == 13
    assert "times the median" in spike["spike"]
    assert spike["spike"].count("_0") == 4


def test_tensorboard_holds_speed_memory_and_histograms(toy: ModuleType, tmp_path: Path) -> None:
    toy.run(tmp_path, 4, histogram_every=2)
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"histograms": 0})
    events.Reload()
    assert {
        "speed/samples_per_second",
        "speed/data_wait_share",
        "speed/optimizer_share",
        "speed/peak_share",
        "speed/memory_gib",
        "first/loss",
        "validation/score",
    } <= set(events.Tags()["scalars"])
    assert {"weights/0.weight", "gradients/0.weight"} <= set(events.Tags()["histograms"])
    assert [event.step for event in events.Histograms("weights/0.weight")] == [1, 3]


def test_training_in_another_thread_than_the_main_one(toy: ModuleType, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def train() -> None:
        try:
            toy.run(tmp_path, 2)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not errors
    assert steps_in(tmp_path / "checkpoints") == [2]


def test_a_second_run_in_the_same_folder_is_refused(toy: ModuleType, tmp_path: Path) -> None:
    class Second(toy.Maps):  # type: ignore[misc,name-defined]
        """Maps in whose reading another run is started."""

        def __getitem__(self, index: int) -> Any:
            with pytest.raises(InputError, match="another run is under way"):
                toy.run(tmp_path, 1)
            return super().__getitem__(index)

    toy.run(tmp_path, 1, maps=Second())
    toy.run(tmp_path, 2, resume=True)
