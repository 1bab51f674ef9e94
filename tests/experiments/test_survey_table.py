from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiodiff.config import load_config
from radiodiff.errors import InputError
from radiodiff.experiments.survey_table import (
    METHODS,
    SurveyTableConfig,
    find_splits,
    load_method,
    write_survey_table,
)

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce" / "surveys.yaml"


def write(path: Path, xy: np.ndarray, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1], "value": values}).to_csv(path, index=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A plane, which linear interpolation continues exactly, in both layouts of folders."""
    rng = np.random.default_rng(0)
    for name in ("flat_random", "hill/blocks"):
        corners = np.array([[0.0, 0], [0, 100], [100, 0], [100, 100]])
        xy = np.r_[corners, rng.uniform(0, 100, (30, 2))]
        held = rng.uniform(10, 90, (12, 2))
        write(tmp_path / "s" / f"{name}_train.csv", xy, -90 + xy @ [0.1, 0.2])
        write(tmp_path / "s" / f"{name}_heldout.csv", held, -90 + held @ [0.1, 0.2])
    return tmp_path / "s"


def config(tmp_path: Path, root: Path, *overrides: str) -> SurveyTableConfig:
    given = [f"output={tmp_path / 'out'}", f"survey_root={root}", *overrides]
    return load_config(CONFIG, SurveyTableConfig, given)


def test_every_method_is_scored_on_every_survey(tmp_path, root, monkeypatch):
    (tmp_path / "own_survey.py").write_text(
        "import numpy as np\n"
        "class Plane:\n"
        "    def __call__(self, xy, values, queries, seed):\n"
        "        plane = np.linalg.lstsq(np.c_[xy, np.ones(len(xy))], values, rcond=None)[0]\n"
        "        return queries @ plane[:2] + plane[2] + 1.0\n"
    )
    monkeypatch.chdir(tmp_path)
    report = write_survey_table(config(tmp_path, root, "methods.mine=own_survey:Plane"))
    table = pd.read_csv(report.parent / "tables" / "surveys.csv")
    rmse = table[table.metric == "rmse_db"].set_index(["setting", "method"])["mean"]
    for setting in ("flat, random", "hill, blocks"):
        assert rmse[setting, "linear"] == pytest.approx(0, abs=1e-6)
        assert rmse[setting, "mine"] == pytest.approx(1)
        assert rmse[setting, "nearest"] > 1
        assert len(rmse[setting]) == len(METHODS) + 1
    ratio = table[table.metric == "ratio"].set_index(["setting", "method"])["mean"]
    assert (ratio.xs("kriging", level="method") == 1).all()
    plain = set(table[table.method == "mine"].metric)
    assert not plain & {"crps_db", "coverage90"}  # it states no spread
    assert "**hill, blocks**" in report.read_text()
    assert r"\begin{tabular}" in (report.parent / "tables" / "surveys.tex").read_text()


def test_wrong_folders_and_methods_are_refused(tmp_path, root):
    with pytest.raises(InputError, match="no survey in it"):
        find_splits(tmp_path / "none")
    (root / "flat_random_heldout.csv").unlink()
    with pytest.raises(InputError, match=r"flat_random_heldout\.csv: not found"):
        find_splits(root)
    with pytest.raises(InputError, match=r"none of nearest, linear"):
        load_method("cubic")
    with pytest.raises(InputError, match="cannot be imported"):
        load_method("no_such_module:f")
