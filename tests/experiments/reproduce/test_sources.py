from pathlib import Path

import pytest
import torch
import yaml

from radiodiff.errors import InputError
from radiodiff.experiments.reproduce.settings import MethodEntry, ReproduceConfig
from radiodiff.experiments.reproduce.sources import Source, find_source
from radiodiff.models.baselines.pipeline import BaselinePipeline
from radiodiff.models.baselines.uvmnet import UVMNet
from radiodiff.plugins import import_modules

TABLE = {
    "kind": "cost",
    "title": "T",
    "methods": ["A"],
    "scenario": {"variant": "S"},
    "repeats": 1,
}


@pytest.fixture
def config(tmp_path: Path) -> ReproduceConfig:
    return ReproduceConfig.model_validate(
        {
            "output": tmp_path,
            "cache": tmp_path,
            "data": {"root": tmp_path},
            "seeds": [0],
            "batch_size": 1,
            "methods": {"A": {"any": {"source": "nearest"}}},
            "tables": {"t": TABLE},
        }
    )


def save_network(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    network = UVMNet(1, (2, 3, 3), grid=4, states=2, hidden=2)
    BaselinePipeline(network, ["buildings"]).save_pretrained(folder)


def test_weights_are_known_by_content_and_by_how_they_are_sampled(
    tmp_path: Path, config: ReproduceConfig
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_network(tmp_path / name / "model", seed)

    def find(name: str, **options: object) -> Source:
        entry = {"source": str(tmp_path / name / "model"), **options}
        return find_source(MethodEntry.model_validate(entry), config)

    assert find("a").identity == find("b").identity
    assert find("a").identity != find("c").identity
    assert find("a").identity != find("a", num_inference_steps=3).identity
    assert "training not known" in find("a").description


def test_the_run_around_weights_says_what_they_were_trained_on(
    tmp_path: Path, config: ReproduceConfig
) -> None:
    save_network(tmp_path / "run" / "model", 0)
    run = {"data": {"root": str(tmp_path / "tree")}, "train": {"steps": 70, "batch_size": 9}}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(run))
    entry = MethodEntry(source=str(tmp_path / "run" / "model"))
    assert (
        f"70 steps of 9 on maps of `{tmp_path / 'tree'}`" in find_source(entry, config).description
    )
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "manifest.json").write_text("{}")
    assert "70 steps of 9 on SIMULATED maps" in find_source(entry, config).description


def test_modules_that_cannot_be_imported_are_named() -> None:
    with pytest.raises(InputError, match="imports: 'no_such_module' cannot be imported"):
        import_modules(["no_such_module"])
