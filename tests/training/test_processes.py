"""The same run whatever the number of processes: the real stages, on one and on two."""

import json
import shutil
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from radiodiff.errors import InputError
from radiodiff.processes import open_accelerator

STEPS = 50
HANDED_OVER = 40
SETTINGS = (
    f"steps={STEPS}",
    "batch_size=4",
    f"checkpoint_every={HANDED_OVER}",
    "validate_every=25",
)
Start = Callable[..., BaseProcess]
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(
    start: Start, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Train:
    """A function that trains a stage on one process, or on two that talk over gloo."""
    directory = tmp_path_factory.mktemp("runs")

    def train(stage: str, processes: int, *settings: str, after: Path | None = None) -> Path:
        """Return the run directory; ``after`` is a run whose first checkpoint is taken up."""
        name = f"{stage}-{processes}-{'-'.join(settings)}" + ("-resumed" if after else "")
        output = directory / name
        if output.exists():
            return output
        if after is not None:
            hand_over(after, output)
        port = free_port()
        group = [
            start(
                stage,
                output,
                *SETTINGS,
                *settings,
                *([f"JOIN=[{number}, {processes}, {port}]"] if processes > 1 else []),
            )
            for number in range(processes)
        ]
        for process in group:
            process.join(timeout=300)
        assert [process.exitcode for process in group] == [0] * processes
        return output

    return train


def hand_over(source: Path, target: Path) -> None:
    """Copy a run as it was when its first checkpoint had been written."""
    name = f"step_{HANDED_OVER:08d}"
    (target / "checkpoints").mkdir(parents=True)
    for end in (".pt", ".json"):
        shutil.copy(source / "checkpoints" / (name + end), target / "checkpoints")
    shutil.copy(source / "metrics.jsonl", target)


def curves(directory: Path, end: str) -> dict[str, list[float]]:
    """Return the logged values whose names end so."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line if name.endswith(end)}
    return {name: [line[name] for line in lines if name in line] for name in names}


@pytest.mark.parametrize(
    ("stage", "settings", "hand_over"),
    [
        ("vae", (), True),
        ("ldm", (), False),
        ("prior", (), True),
        ("prior", ("shard=true",), True),
    ],
)
def test_the_number_of_processes_changes_nothing(
    stage: str, settings: tuple[str, ...], hand_over: bool, train: Train
) -> None:
    one = train(stage, 1)
    runs = [train(stage, 2, *settings)]
    if hand_over:
        runs += [train(stage, 2, *settings, after=one), train(stage, 1, *settings, after=runs[0])]
    expected = curves(one, "/loss")
    assert max(map(len, expected.values())) == STEPS
    for run in runs:
        for name, curve in curves(run, "/loss").items():
            assert curve == pytest.approx(expected[name], rel=1e-5), (run, name)
        # What is validated is the moving average, by the running statistics of the batches.
        scores = curves(run, "/score")["validation/score"]
        assert scores == pytest.approx(curves(one, "/score")["validation/score"], rel=1e-4), run


def test_stages_that_train_each_other_are_not_sharded(
    start: Start, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    group = [
        start("vae", tmp_path, "steps=2", "shard=true", f"JOIN=[{number}, 2, {port}]")
        for number in range(2)
    ]
    for process in group:
        process.join(timeout=120)
    assert all(process.exitcode for process in group)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_accelerates_own_sharding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match=r"train.shard=true"):
        open_accelerator("fp32")
