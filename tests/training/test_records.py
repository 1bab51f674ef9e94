import json
from pathlib import Path

import torch

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
