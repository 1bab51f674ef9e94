import json
from pathlib import Path

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.training import records as records_module
from radiodiff.training.records import Records


def lines(directory: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_replaces_the_lines_it_writes_again(tmp_path: Path) -> None:
    with Records(tmp_path, 0, 10, enabled=True) as records:
        for step in range(4):
            records.metrics(step, {"loss": float(step)})
            records.advance(0.1)
        records.images(3, {"map": torch.zeros(1, 4, 4)})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    with Records(tmp_path, 2, 10, enabled=True) as records:
        records.metrics(2, {"loss": 20.0})
    assert [line["loss"] for line in lines(tmp_path)] == [0.0, 1.0, 20.0]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    with Records(tmp_path, 0, 10, enabled=False) as records:
        records.metrics(0, {"loss": 1.0})
        records.scalars(0, {"speed": 1.0})
        records.advance(1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_scalars_goes_on_where_the_run_does(tmp_path: Path) -> None:
    for first, count in ((0, 4), (2, 3)):
        with Records(tmp_path, first, 10, enabled=True, trackers=("csv",)) as records:
            for step in range(first, count):
                records.metrics(step, {"loss": first + step / 8})
                records.images(step, {"map": torch.zeros(1, 4, 4)})
    table = (tmp_path / "scalars.csv").read_text().splitlines()
    assert table == ["step,name,value", "0,loss,0.0", "1,loss,0.125", "2,loss,2.25"]
    assert not (tmp_path / "tensorboard").exists()


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "is_wandb_available", lambda: False)
    with pytest.raises(InputError, match="wandb is not installed"):
        Records(tmp_path, 0, 1, enabled=True, trackers=("wandb",))


def test_wandb_is_handed_the_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Tracker:
        def __init__(self, project: str, **options: object) -> None:
            seen.append((project, options["name"]))

        def start(self) -> None:
            seen.append("start")

        def log(self, values: dict[str, float], step: int) -> None:
            seen.append((step, values))

        def finish(self) -> None:
            seen.append("finish")

    monkeypatch.setattr(records_module, "is_wandb_available", lambda: True)
    monkeypatch.setattr(records_module, "WandBTracker", Tracker)
    with Records(tmp_path, 0, 1, enabled=True, trackers=("wandb",)) as records:
        records.metrics(0, {"loss": 1.0})
    assert seen == [("radiodiff", tmp_path.name), "start", (0, {"loss": 1.0}), "finish"]
