from pathlib import Path
from types import ModuleType

import pytest

from radiodiff.benchmarks import training as benchmark
from radiodiff.benchmarks.training import STAGES, Stage, StageTiming, measure_stage
from radiodiff.training.settings import PriorExperiment
from radiodiff.training.tasks import PriorTask

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_stage_is_timed_and_its_shares_add_up(
    small_stages: ModuleType, small_root: Path, tmp_path: Path
) -> None:
    stage = Stage("prior", "prior", PriorExperiment, PriorTask)
    train = small_stages.TRAIN | {"steps": 100, "precision": "bf16"}
    config = small_stages.experiment("prior", small_root, tmp_path / "run", train=train)
    timing = measure_stage(stage, config, tmp_path, seconds=0.0)
    assert timing.precision == "bf16"
    assert timing.samples_per_second > 0
    assert timing.checkpoint_seconds > 0
    assert timing.operations > 0
    assert 0 < timing.data_wait_share + timing.optimizer_share < 1
    assert len(list((tmp_path / "checkpoints").glob("*.json"))) == 1


def test_the_checkpoint_share_is_of_the_time_between_two() -> None:
    timing = StageTiming("", "fp32", 4, 2.0, 0.0, 0.0, 0.0, 1.0, 50)
    assert timing.checkpoint_share == pytest.approx(1 / 101)


@pytest.mark.parametrize("size", ["small", "paper"])
def test_every_stage_is_configured(size: benchmark.Size, tmp_path: Path) -> None:
    for stage in STAGES[size]:
        config = benchmark._configure(stage, CONFIGS, size, tmp_path, "bf16")
        assert config.train.batch_size == benchmark.BATCH[size]
        assert config.train.precision == "bf16"
