"""What may change when a run goes on."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from radiodiff.errors import InputError
from radiodiff.training.experiments import train_stage
from radiodiff.training.tasks import PriorTask


def go(
    small_stages: ModuleType, root: Path, output: Path, resume: bool = True, **changes: Any
) -> list[dict[str, Any]]:
    """Train the prior, or go on; return the lines of metrics.jsonl."""
    optimizer = small_stages.OPTIMIZER | changes.pop("optimizer", {})
    data = changes.pop("data", {})
    train = small_stages.TRAIN | changes
    config = small_stages.experiment("prior", root, output, train=train, optimizer=optimizer)
    config = config.model_copy(update={"data": config.data.model_copy(update=data)})
    train_stage(config, PriorTask, resume)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_a_run_goes_on_where_the_maps_lie_elsewhere(
    small_stages: ModuleType, small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(small_stages, small_root, tmp_path / "run", steps=1)
    shutil.copytree(small_root, tmp_path / "moved")
    go(small_stages, tmp_path / "moved", tmp_path / "run", steps=2, data={"cache": False})
    monkeypatch.chdir(tmp_path)
    lines = go(small_stages, Path("moved"), tmp_path / "run", steps=3)
    assert [line["step"] for line in lines if "validation/score" in line] == [0, 1, 2]
    assert not [line for line in lines if "changed" in line]

    image = next((tmp_path / "moved" / "gain" / "DPM").glob("1_0.png"))
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    shutil.move("moved", "other")
    with pytest.raises(InputError, match="other holds other maps than"):
        go(small_stages, Path("other"), tmp_path / "run", steps=4)


def test_what_an_error_advises_is_taken_and_noted(
    small_stages: ModuleType, small_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(small_stages, small_root, tmp_path / "run", steps=1)
    slower = {"learning_rate": 5e-4, "gradient_clip": 0.5}
    lines = go(
        small_stages,
        small_root,
        tmp_path / "run",
        steps=2,
        optimizer=slower,
        precision="bf16",
        batch_size=1,
    )
    noted = [line["changed"] for line in lines if "changed" in line]
    assert noted == [
        "optimizer.gradient_clip was 1.0, now 0.5",
        "optimizer.learning_rate was 0.001, now 0.0005",
        "train.batch_size was 2, now 1",
        "train.precision was fp32, now bf16",
    ]
    assert "warning" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"train\.seed was 0, now 1"):
        go(small_stages, small_root, tmp_path / "run", steps=3, seed=1)


def test_a_folder_without_a_checkpoint_is_no_run(
    small_stages: ModuleType, small_root: Path, tmp_path: Path
) -> None:
    go(small_stages, small_root, tmp_path / "run", steps=1)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    lines = go(small_stages, small_root, tmp_path / "run", resume=False, steps=1, seed=1)
    assert {line["step"] for line in lines} == {0}
