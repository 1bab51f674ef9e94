"""One seed and one map: both commands give one figure, in every cell of Tables I-III."""

import csv
from itertools import product
from pathlib import Path

import pytest
import torch

from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.experiments.batches import MapBatch, WithheldError, known_facts
from radiodiff.experiments.inverse_benchmark import run_benchmark
from radiodiff.experiments.methods import METHODS, Method, predict_maps, register
from radiodiff.experiments.reproduce.run import reproduce
from radiodiff.experiments.reproduce.settings import ReproduceConfig
from radiodiff.experiments.settings import InverseConfig

CELLS = list(product((False, True), (0.7, 0.8, 0.9), (0.01, 0.05, 0.09)))
SAMPLING = {"num_particles": 2, "num_inference_steps": 2}


def name_of(cell: tuple[bool, float, float]) -> str:
    aware, missing, noise = cell
    return f"{'aware' if aware else 'unaware'} {missing} {noise}"


def protocol_of(cell: tuple[bool, float, float]) -> dict[str, float | bool]:
    aware, missing, noise = cell
    return {"aware": aware, "missing_ratio": missing, "noise_std": noise}


def test_both_commands_score_every_cell_alike(
    prior_directory: Path, tree: Path, tmp_path: Path
) -> None:
    """Shown the same, and scored the same: PSNR to 0.005 dB, and IoU where it is defined."""
    scenarios = {
        name_of(cell): {"variant": "any", "measurements": protocol_of(cell)} for cell in CELLS
    }
    shared = {"data": {"root": tree, "split": "all"}, "max_maps": 1, "seeds": [3]}
    config = {
        "output": tmp_path / "tables",
        "cache": tmp_path / "cache",
        "batch_size": 1,
        "methods": {"prior": {"any": {"source": str(prior_directory), **SAMPLING}}},
        "tables": {
            "t": {
                "kind": "scores",
                "title": "T",
                "methods": ["prior"],
                "scenarios": scenarios,
                "metrics": ["psnr", "ssim", "rmse", "iou"],
                "interval": "cities",
                "conventions": {"rmse_unit": "model"},
            }
        },
    }
    reproduce(ReproduceConfig.model_validate(config | shared))
    with (tmp_path / "tables" / "tables" / "t.csv").open() as file:
        tables = {(r["setting"], r["metric"]): float(r["mean"]) for r in csv.DictReader(file)}
    for cell in CELLS:
        run = {"output": tmp_path / name_of(cell), "prior": prior_directory, "baselines": []}
        run |= {"measurements": protocol_of(cell), **SAMPLING, **shared}
        found = run_benchmark(InverseConfig.model_validate(run))["radiodiff-inverse"]
        psnr = found["psnr"]["mean"]
        assert tables[name_of(cell), "psnr"] == pytest.approx(psnr, abs=0.005), cell
        assert tables[name_of(cell), "ssim"] == pytest.approx(found["ssim"]["mean"], abs=1e-4)
        assert tables[name_of(cell), "rmse"] == pytest.approx(found["rmse_model"]["mean"], abs=1e-4)
        if not cell[0]:
            assert tables[name_of(cell), "iou"] == pytest.approx(found["iou"]["mean"], abs=1e-9)


def run(method: Method, tree: Path, aware: bool, **options: object) -> list[MapBatch]:
    """Run a method on the first map, and return what it was shown."""
    shown: list[MapBatch] = []

    def record(batch: MapBatch) -> torch.Tensor:
        shown.append(batch)
        found = method.predict(batch)
        assert isinstance(found, torch.Tensor)
        return found

    data = DataConfig(root=tree, split="all")
    protocol = MeasurementProtocol(aware=aware, missing_ratio=0.7, noise_std=0.01)
    recorded = Method(record, method.prompt_features)
    list(predict_maps(recorded, data, "test", max_maps=1, protocol=protocol, **options))
    return shown


def flat(batch: MapBatch) -> torch.Tensor:
    return torch.full((len(batch.names), *batch.shape), 0.5)


@pytest.mark.parametrize(
    "features",
    [
        ("buildings",),
        ("vehicles",),
        ("line_of_sight",),
        ("detour",),
        ("transmitter", "buildings"),
    ],
)
def test_unknown_buildings_are_not_in_the_batch(tree: Path, features: tuple[str, ...]) -> None:
    (batch,) = run(Method(flat, features), tree, aware=False)
    assert batch.buildings is None
    assert batch.channels is None
    with pytest.raises(WithheldError, match=f"asks for the prompt channels .*{features[-1]}"):
        _ = batch.prompt
    (batch,) = run(Method(flat, features), tree, aware=True)
    assert batch.buildings is not None
    assert batch.prompt.shape[1] == len(features)


def test_the_transmitter_is_shown_where_the_scenario_gives_it(tree: Path) -> None:
    method = Method(flat, ("transmitter", "distance"))
    (batch,) = run(method, tree, aware=False)
    assert batch.prompt.shape[1] == 2
    (batch,) = run(method, tree, aware=False, known=())
    assert batch.channels is None
    (batch,) = run(Method(flat, ()), tree, aware=False, known=())
    assert batch.prompt.shape[1] == 0


def test_a_channel_that_nobody_listed_is_taken_for_one_that_shows_all(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = {"hint": lambda scene: scene.buildings.astype("float32")}
    monkeypatch.setattr("radiodiff.data.prompts.PROMPT_FEATURES", features)
    (batch,) = run(Method(flat, ("hint",)), tree, aware=False)
    assert batch.withheld == ("hint",)


def test_a_table_says_why_a_method_does_not_run(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask of the true buildings scores an IoU of 1, where it may be seen."""
    monkeypatch.setattr("radiodiff.experiments.methods.METHODS", dict(METHODS))
    register("peek", lambda batch: (batch.prompt[:, 0] < 0).float())
    register("blind", flat)
    measured = {"missing_ratio": 0.7, "noise_std": 0.01}
    scenarios = {
        "unknown": {"variant": "any", "measurements": measured},
        "known": {"variant": "any", "measurements": measured | {"aware": True}},
    }
    methods = {name: {"any": {"source": name}} for name in ("peek", "blind")}
    table = {"kind": "scores", "title": "T", "methods": list(methods), "scenarios": scenarios}
    table |= {"metrics": ["psnr", "iou"], "interval": "cities", "conventions": {}}
    config = {"output": tmp_path / "out", "cache": tmp_path / "cache", "seeds": [0]}
    config |= {"data": {"root": tree, "split": "all"}, "batch_size": 2, "methods": methods}
    report = reproduce(ReproduceConfig.model_validate(config | {"tables": {"t": table}}))
    with (tmp_path / "out" / "tables" / "t.csv").open() as file:
        found = {(r["setting"], r["method"]) for r in csv.DictReader(file)}
    assert found == {("unknown", "blind"), ("known", "peek"), ("known", "blind")}
    text = report.read_text()
    assert "peek does not run: the method asks for the prompt channels buildings, vehicles" in text


def test_what_is_measured_follows_from_seed_and_map_alone(tree: Path) -> None:
    first = run(Method(flat, ()), tree, aware=True)[0]
    again = run(Method(flat, ()), tree, aware=True)[0]
    other = run(Method(flat, ()), tree, aware=True, seed=1)[0]
    assert first.measurements is not None
    assert again.measurements is not None
    assert other.measurements is not None
    assert torch.equal(first.measurements.values, again.measurements.values)
    assert not torch.equal(first.measurements.mask, other.measurements.mask)
    assert first.buildings is not None
    assert first.measurements.mask[first.buildings].all()
    assert not first.measurements.noise_std[first.buildings].any()
    assert known_facts(None) == ("buildings", "transmitter", "vehicles")
