from pathlib import Path
from typing import Any

import pytest
import yaml

from radiodiff.config import load_config
from radiodiff.errors import InputError
from radiodiff.experiments.reproduce.settings import ReproduceConfig

MEASURED = {"aware": False, "missing_ratio": 0.5, "noise_std": 0.1}
TABLE: dict[str, Any] = {
    "kind": "scores",
    "title": "T",
    "methods": ["A"],
    "scenarios": {"S": {"variant": "S"}},
    "metrics": ["nmse"],
    "interval": "seeds",
    "conventions": {"rmse_unit": "gray"},
}


def load(tmp_path: Path, **changes: Any) -> ReproduceConfig:
    values = {
        "output": "o",
        "cache": "c",
        "data": {"root": "r"},
        "seeds": [0],
        "batch_size": 1,
        "methods": {"A": {"S": {"source": "nearest"}, "any": {"source": "linear"}}},
        "tables": {"t": TABLE},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return load_config(path, ReproduceConfig)


def test_a_scenario_takes_its_variant_or_any(tmp_path: Path) -> None:
    curves = {
        "kind": "curves",
        "title": "C",
        "methods": ["A"],
        "metric": "psnr",
        "axis": "noise_std",
        "values": [0.0, 0.3],
        "scenarios": {"known": {"variant": "other", "measurements": MEASURED}},
        "interval": "seeds",
        "conventions": {},
    }
    own = {"Mine": {"other": {"source": "rbf"}}}
    config = load(tmp_path, figures={"f": curves}, own_methods=own)
    (scenario,) = config.tables["t"].scenario_list()
    assert config.variant("A", scenario) == "S"
    assert config.variant("Mine", scenario) is None
    assert config.rows(config.tables["t"]) == ("A", "Mine")
    noisy = list(config.figures["f"].scenario_list())
    assert [s.measurements.noise_std for s in noisy if s.measurements] == [0.0, 0.3]
    assert config.variant("A", noisy[0]) == "any"
    assert config.variant("Mine", noisy[0]) == "other"
    assert config.entry("A", "any").source == "linear"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables": {}}, "nothing to compare"),
        ({"tables": {"t": {**TABLE, "methods": ["B"]}}}, "t: 'B' is none of the methods, A"),
        ({"methods": {"A": {"other": {"source": "x"}}}}, "neither the variant 'S' nor 'any'"),
        ({"methods": {"A": {"any": {"num_particles": 2}}}}, "one of predictions, source and train"),
        ({"own_methods": {"A": {"any": {"source": "x"}}}}, "'A' stands in methods and own_methods"),
        ({"tables": {"t": {**TABLE, "printed": "inverse_1"}}}, "printed in model: set rmse_unit"),
        ({"tables": {"t": {**TABLE, "printed": "table_9"}}}, "no printed table 'table_9'"),
        ({"tables": {"t": {**TABLE, "also_printed": ["x"]}}}, "no printed table 'x'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, **changes)
