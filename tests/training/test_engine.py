import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.training.checkpoints import load_newest, steps_in

TOY = Path(__file__).with_name("toy_stage.py")


def load_toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_stage", TOY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toy = load_toy()


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


def test_training_lowers_the_loss_and_exports_the_average(tmp_path: Path) -> None:
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


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    toy.run(tmp_path / "whole", 12)
    stopped = tmp_path / "stopped"

    class Interrupted(toy.ToyStage):
        def preview(self) -> dict[str, torch.Tensor]:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().preview()

    toy.run(stopped, 12, stage=Interrupted(dropout=0.3))
    assert not (stopped / "model").exists()
    assert steps_in(stopped / "checkpoints") == [5, 6]
    toy.run(stopped, 12, resume=True)
    whole, resumed = (load_newest(tmp_path / d / "checkpoints") for d in ("whole", "stopped"))
    assert same(whole, resumed)
    metrics = [(tmp_path / d / "metrics.jsonl").read_bytes() for d in ("whole", "stopped")]
    assert metrics[0] == metrics[1]


def test_accumulated_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    toy.run(tmp_path / "one", 8, stage=toy.ToyStage())
    toy.run(tmp_path / "two", 8, stage=toy.ToyStage(), accumulation=2)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-5)


def test_two_processes_equal_one_and_take_over_its_run(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    one, two, handed = (tmp_path / name for name in ("one", "two", "handed"))
    for directory in (one, two, handed):
        directory.mkdir()
    toy.run(one, 20, stage=toy.ToyStage())
    for directory, resume in ((two, "new"), (handed, "resume")):
        if resume == "resume":
            toy.run(handed, 20, stage=StopsAtStepFive())
        command = [*launch, str(TOY), str(directory), "20", resume]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert losses(handed) == pytest.approx(losses(one), rel=1e-5)


class StopsAtStepFive(toy.ToyStage):
    def preview(self) -> dict[str, torch.Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return super().preview()


def test_an_existing_run_is_not_written_over(tmp_path: Path) -> None:
    toy.run(tmp_path, 5)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="holds a run up to step 5; add --resume"):
        toy.run(tmp_path, 5)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_another_architecture_is_named(tmp_path: Path) -> None:
    toy.run(tmp_path, 5)
    with pytest.raises(InputError, match="another architecture"):
        toy.run(tmp_path, 9, resume=True, stage=toy.ToyStage(width=4))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_maps(tmp_path: Path) -> None:
    maps = toy.Maps()
    maps.poisoned = "7_0"
    with pytest.raises(InputError, match=r"step \d: the loss is nan for maps .*7_0.*last good"):
        toy.run(tmp_path, 30, maps=maps)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of accumulation"):
        toy.settings(5, batch_size=4, accumulation=3)
