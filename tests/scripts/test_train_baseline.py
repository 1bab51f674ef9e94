import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from radiodiff.models.baselines.pipeline import BaselinePipeline

ROOT = Path(__file__).parents[2]
SMALLEST = (
    "data.fractions=[0.4,0.3,0.3]",
    "train.steps=1",
    "train.batch_size=2",
    "train.validation_maps=1",
    "train.validate_every=1",
)


@pytest.fixture
def train(make_tree, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script on four maps of 64 x 64 with a smoke configuration, return its status."""
    tree = make_tree(shape=(64, 64), transmitters=1)

    def run(name: str, *overrides: str) -> int:
        config = ROOT / "configs" / "smoke" / f"{name}.yaml"
        places = (f"output={tmp_path / 'run'}", f"data.root={tree}")
        arguments = ["script", "--config", str(config), *places, *SMALLEST, *overrides]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / "scripts/train_baseline.py"), run_name="__main__")
        return int(exit_info.value.code or 0)

    return run


@pytest.mark.parametrize("name", ["radiounet", "uvmnet", "rmegan"])
def test_every_smoke_configuration_trains(name: str, train, tmp_path: Path) -> None:
    assert train(name) == 0
    pipeline = BaselinePipeline.from_pretrained(tmp_path / "run" / "model")
    assert pipeline.config.takes_measurements == (name == "radiounet")


def test_mistakes_are_one_line(train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("uvmnet", "model.gird=8") == 2
    assert "gird" in capsys.readouterr().err.splitlines()[-1]
    assert train("rmegan", "model.widths=[4,4]") == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == "error: widths: expected 9 widths, found 2"
