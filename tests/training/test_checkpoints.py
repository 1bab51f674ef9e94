import json
import os
from pathlib import Path

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.training.checkpoints import (
    CheckpointWriter,
    load_newest,
    newest_step,
    snapshot,
    steps_in,
)


def fill(directory: Path, steps: list[int], keep_last: int = 9, keep_every: int | None = None):
    writer = CheckpointWriter(directory, keep_last, keep_every)
    for step in steps:
        writer.save(step, {"step": step, "w": torch.full((100,), float(step))})
    writer.close()


def test_the_newest_comes_back_equal(tmp_path: Path) -> None:
    fill(tmp_path, [1, 2])
    state = load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 2
    assert torch.equal(state["w"], torch.full((100,), 2.0))


def test_keep_last_and_keep_every(tmp_path: Path) -> None:
    fill(tmp_path, list(range(1, 11)), keep_last=2, keep_every=4)
    assert steps_in(tmp_path) == [4, 8, 9, 10]
    assert len(list(tmp_path.iterdir())) == 8


def test_the_state_is_copied_before_it_changes(tmp_path: Path) -> None:
    weight = torch.ones(1000)
    writer = CheckpointWriter(tmp_path, 1, None)
    writer.save(1, {"step": 1, "w": weight})
    weight.zero_()
    writer.close()
    state = load_newest(tmp_path)
    assert state is not None
    assert state["w"].sum() == 1000


def test_a_truncated_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, [1, 2])
    newest = tmp_path / "step_00000002.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    state = load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert "step_00000002.pt: damaged" in capsys.readouterr().out


def test_a_write_cut_short_by_a_kill_is_not_a_checkpoint(tmp_path: Path) -> None:
    fill(tmp_path, [1])
    (tmp_path / "step_00000002.pt.partial").write_bytes(b"half")
    (tmp_path / "step_00000003.pt").write_bytes(b"renamed, but its checksum never came")
    assert newest_step(tmp_path) == 1


def test_what_a_kill_left_half_written_is_cleared_away_by_the_next_run(tmp_path: Path) -> None:
    fill(tmp_path, [1])
    (tmp_path / "step_00000002.pt.partial").write_bytes(b"half")
    fill(tmp_path, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_00000001.json",
        "step_00000001.pt",
    ]


def test_nothing_usable_is_said(tmp_path: Path) -> None:
    assert load_newest(tmp_path) is None
    fill(tmp_path, [1])
    manifest = tmp_path / "step_00000001.json"
    manifest.write_text(json.dumps({"step": 1, "sha256": "0" * 64}))
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        load_newest(tmp_path)


def test_a_failed_write_keeps_the_last_good_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, [1])

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    writer = CheckpointWriter(tmp_path, 1, None)
    writer.save(2, {"step": 2})
    with pytest.raises(InputError, match=r"No space left on device.*step 1 is the last good one"):
        writer.close()
    assert steps_in(tmp_path) == [1]
    assert not list(tmp_path.glob("*.partial"))


def test_a_snapshot_shares_nothing() -> None:
    tensor = torch.zeros(2)
    copy = snapshot({"a": [tensor, (tensor,)], "b": 3})
    tensor.fill_(1)
    assert copy["a"][0].sum() == 0
    assert copy["a"][1][0].sum() == 0
    assert copy["b"] == 3
