"""Whole comparisons on a few maps of 32 x 32: custom methods, the cache, and a kill."""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from radiodiff.config import load_config
from radiodiff.errors import InputError
from radiodiff.experiments import methods
from radiodiff.experiments.batches import MapBatch
from radiodiff.experiments.methods import METHODS
from radiodiff.experiments.reproduce.run import reproduce
from radiodiff.experiments.reproduce.settings import ReproduceConfig

SCRIPT = Path(__file__).parents[3] / "scripts" / "reproduce.py"
SRM = {"variant": "SRM"}
MEASURED = {"aware": False, "missing_ratio": 0.7, "noise_std": 0.05}
UNAWARE = {"variant": "unaware", "measurements": MEASURED}
SCORES = {"kind": "scores", "title": "Table", "metrics": ["nmse", "psnr", "iou"]}
SCORES |= {"interval": "seeds", "conventions": {}}

OWN_METHOD = '''
import torch
from radiodiff.experiments.methods import register

def flat(batch):
    """A map of one gray level: no good, but a method."""
    return torch.full((len(batch.names), *batch.shape), 0.4)

register("flat", flat)
'''

# Writes down what it is asked for; kills the process in a checkpoint or in the third batch.
MORTAL_METHOD = """
import os, signal
from pathlib import Path
import torch
from radiodiff.training import checkpoints

log = Path("asked.txt")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def sync(path, calls=[]):
    calls.append(path)
    if len(calls) == 4:
        die()

if os.environ.get("DIE") == "training":
    checkpoints._sync = sync

def predict(batch):
    with log.open("a") as file:
        file.write(" ".join(map(str, (*batch.names, *batch.seeds))) + "\\n")
    if os.environ.get("DIE") == "predicting" and len(log.read_text().splitlines()) == 3:
        die()
    draws = [torch.rand(32, 32, generator=torch.Generator().manual_seed(s)) for s in batch.seeds]
    return torch.stack(draws)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Path:
    """Six maps of two transmitters each; cities 4 to 6 are for testing."""
    folder = tmp_path_factory.mktemp("maps")
    return write_radio_maps(folder, maps=(1, 2, 3, 4, 5, 6), transmitters=2, shape=(32, 32))


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiodiff.experiments.methods.METHODS", dict(METHODS))


def configure(root: Path, folder: Path, **changes: Any) -> ReproduceConfig:
    values: dict[str, Any] = {
        "output": "out",
        "cache": "cache",
        "data": {
            "root": str(root),
            "split": "explicit",
            "maps": {"train": [1, 2], "val": [3], "test": [4, 5, 6]},
        },
        "seeds": [0, 1],
        "batch_size": 2,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return load_config(path, ReproduceConfig)


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "out" / "tables" / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_cluster_predicts_the_cells_that_are_missing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    values: dict[str, Any] = {
        "methods": {"linear": {"any": {"source": "linear"}}},
        "tables": {
            "inverse": SCORES
            | {"methods": ["linear"], "scenarios": {"SRM": SRM, "unaware 0.7": UNAWARE}}
        },
    }
    reproduce(configure(root, tmp_path, **values))
    alone = {path.name: path.read_bytes() for path in (tmp_path / "out" / "tables").iterdir()}
    maps = {path: path.read_bytes() for path in (tmp_path / "cache" / "maps").rglob("*.png")}
    lost = sorted(maps)[0]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in maps.keys() - {lost}}
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        executor = {"kind": "dask", "address": cluster.scheduler_address}
        report = reproduce(configure(root, tmp_path, executor=executor, **values)).read_text()
    assert "linear does not run" in report  # the reason comes back from the worker
    assert {path: path.read_bytes() for path in maps} == maps
    whole_batch = {path for path in kept if path.stat().st_mtime_ns != kept[path]}
    assert len(whole_batch) <= 1  # batches of two maps
    again = {path.name: path.read_bytes() for path in (tmp_path / "out" / "tables").iterdir()}
    assert again["inverse.csv"] == alone["inverse.csv"]


def test_a_custom_method_appears_in_every_table_and_figure(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flat_method.py").write_text(OWN_METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    curves = {"kind": "curves", "title": "Curves", "methods": ["linear"], "metric": "iou"}
    curves |= {"axis": "missing_ratio", "values": [0.5, 0.7], "interval": "seeds"}
    config = configure(
        root,
        tmp_path,
        imports=["flat_method"],
        own_methods={"Mine": {"any": {"source": "flat"}}},
        methods={
            "truth": {"SRM": {"predictions": str(root / "gain" / "DPM")}},
            "linear": {"any": {"source": "linear"}},
        },
        tables={
            "free": SCORES | {"methods": ["truth", "linear"], "scenarios": {"SRM": SRM}},
            "inverse": SCORES | {"methods": ["linear"], "scenarios": {"unaware 0.7": UNAWARE}},
            "cost": {"kind": "cost", "title": "Cost", "methods": ["truth"], "scenario": SRM}
            | {"repeats": 2, "printed": "radiodiff_4", "also_printed": ["newer"]},
        },
        figures={
            "maps": {"kind": "maps", "title": "Maps", "methods": ["linear"], "maps": 2}
            | {"scenario": UNAWARE},
            "curves": curves | {"scenarios": {"unknown": UNAWARE}, "conventions": {}},
        },
    )
    report = reproduce(config).read_text()
    for table in ("free", "inverse", "cost"):
        assert "Mine" in {row["method"] for row in rows(tmp_path, table)}
        for suffix in ("md", "tex"):
            assert re.search(
                r"^(\| )?Mine ", (Path("out/tables") / f"{table}.{suffix}").read_text(), re.M
            )
    assert report.count("\n| Mine |") == 4  # where it comes from, and three tables
    for figure in ("maps", "curves"):
        with Image.open(f"out/figures/{figure}.png") as image:
            assert image.width > 500
    # The truth is the best prediction there is, and interpolation has nothing to go by.
    free = {(row["method"], row["metric"]): row["mean"] for row in rows(tmp_path, "free")}
    assert float(free["truth", "nmse"]) == 0.0
    assert float(free["truth", "psnr"]) == float("inf")
    assert float(free["truth", "iou"]) > 0.9
    assert float(free["Mine", "nmse"]) > 0.05
    assert not any(method == "linear" for method, _ in free)
    assert "| linear | – | – | – |" in Path("out/tables/free.md").read_text()
    cost = {row["metric"]: float(row["mean"]) for row in rows(tmp_path, "cost")}
    assert cost.keys() == {"seconds", "prompt_seconds", "memory_mb"}
    assert cost["prompt_seconds"] > 0
    text = Path("out/tables/cost.md").read_text()
    assert "the first map of a city takes up to" in text
    assert "Also printed: RadioFlow" in text
    assert "| RadioFlow | 0.06 | 0.13 |" in text
    assert "RMDM |" not in text  # of which no time is printed
    assert 0 < cost["seconds"] < 1
    assert cost["memory_mb"] > 50
    # Nobody mistakes one run for another.
    assert "6 maps of 3 cities, 32 x 32 pixels; seeds 0, 1" in report
    assert "taken for the dataset" in report
    assert "SIMULATED" not in report


def test_simulated_maps_are_named_everywhere(
    make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(maps=(1, 2, 3, 4, 5, 6), transmitters=1, shape=(32, 32))
    (root / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    nearest = {"methods": ["nearest"], "scenarios": {"unaware 0.7": UNAWARE}}
    table = SCORES | nearest | {"printed": "inverse_1", "conventions": {"rmse_unit": "model"}}
    config = configure(
        root, tmp_path, methods={"nearest": {"any": {"source": "nearest"}}}, tables={"t": table}
    )
    assert "SIMULATED MAPS" in reproduce(config).read_text()
    for suffix in ("md", "tex"):
        assert "SIMULATED MAPS" in Path(f"out/tables/t.{suffix}").read_text()
    assert {row["data"] for row in rows(tmp_path, "t")} == {"simulated"}
    assert Path("out/tables/t.tex").read_text().isascii()


def test_a_device_that_is_not_there_is_refused(root: Path, tmp_path: Path) -> None:
    table = SCORES | {"methods": ["linear"], "scenarios": {"a": UNAWARE}}
    methods = {"linear": {"any": {"source": "linear"}}}
    output = str(tmp_path / "out")
    config = configure(root, tmp_path, methods=methods, tables={"t": table}, output=output)
    with pytest.raises(InputError, match=r"device: 'cuda:77' cannot be used .*; set device=cpu"):
        reproduce(config.model_copy(update={"device": "cuda:77"}))
    assert not Path(output).exists()


def test_results_are_kept_until_what_made_them_changes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counted.py").write_text(MORTAL_METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    table = SCORES | {"methods": ["M"], "scenarios": {"a": SRM}}
    methods = {"M": {"any": {"source": "counted:predict"}}}
    asked = lambda: len(Path("asked.txt").read_text().splitlines())  # noqa: E731
    reproduce(configure(root, tmp_path, methods=methods, tables={"t": table}))
    assert asked() == 6  # three batches of two maps, two seeds
    tables = {"t": table, "same": table | {"conventions": {"pixels": "outdoor"}}}
    reproduce(configure(root, tmp_path, methods=methods, tables=tables, output="other"))
    assert asked() == 6
    again = {"methods": methods, "tables": {"t": table}}
    reproduce(configure(root, tmp_path, **again, seeds=[0, 2], output="seeds"))
    assert asked() == 9
    reproduce(configure(root, tmp_path, **again, max_maps=2, output="fewer"))
    assert asked() == 11
    with (tmp_path / "counted.py").open("a") as file:
        file.write("# edited\n")
    reproduce(configure(root, tmp_path, **again, output="edited"))
    assert asked() == 17
    with pytest.raises(InputError, match="another configuration"):
        reproduce(configure(root, tmp_path, **again, max_maps=2))


def test_buildings_replaced_in_place_are_scored_anew(
    make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept prediction stays what it was; what it is compared with does not."""
    root = make_tree(maps=(1, 2, 3, 4, 5, 6), transmitters=1, shape=(32, 32))
    monkeypatch.chdir(tmp_path)
    methods = {"truth": {"any": {"predictions": str(root / "gain" / "DPM")}}}
    tables = {"t": SCORES | {"methods": ["truth"], "scenarios": {"SRM": SRM}}}

    def intersection(output: str) -> float:
        reproduce(configure(root, tmp_path, methods=methods, tables=tables, output=output))
        with (tmp_path / output / "tables" / "t.csv").open() as file:
            found = {row["metric"]: float(row["mean"]) for row in csv.DictReader(file)}
        return found["iou"]

    before = intersection("first")
    assert intersection("again") == before
    layout = root / "png" / "buildings_complete" / "5.png"
    with Image.open(layout) as image:
        shrunk = image.point(lambda level: 0)
    shrunk.putpixel((0, 0), 255)
    antenna = root / "png" / "antennas" / "5_0.png"
    assert Image.open(antenna).getpixel((0, 0)) == 0
    shrunk.save(layout)
    assert intersection("replaced") < before - 0.1


def test_a_method_that_returns_nan_ends_the_run_without_a_table(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(methods.METHODS, "broken", methods.Method(_nan_from_city_5_on))
    config = configure(
        root,
        tmp_path,
        methods={"B": {"any": {"source": "broken"}}},
        tables={"t": SCORES | {"methods": ["B"], "scenarios": {"SRM": SRM}}},
    )
    with pytest.raises(InputError, match="the method returned NaN or infinity"):
        reproduce(config)
    assert not list(tmp_path.glob("out/tables/*"))
    assert {path.stem for path in tmp_path.glob("cache/maps/*/*.png")} == {"4_0", "4_1"}


def _nan_from_city_5_on(batch: MapBatch) -> torch.Tensor:
    levels = [torch.nan if name.startswith("5") else 0.4 for name in batch.names]
    return torch.stack([torch.full(batch.shape, level) for level in levels])


def test_names_are_looked_up_before_anything_is_trained(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder is searched for custom methods."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "found_here.py").write_text("def predict(batch):\n    return batch.prompt[:, 0]\n")
    trained = {"train": [{"stage": "baseline", "config": "no_such_file.yaml"}]}
    table = SCORES | {"methods": ["N"], "scenarios": {"SRM": SRM}}
    for source, message in (
        ("no_such_module:predict", "'no_such_module:predict': cannot be imported"),
        ("found_here:predict", "no_such_file.yaml"),
    ):
        own = {"Mine": {"any": {"source": source}}}
        methods = {"N": {"any": trained}}
        config = configure(root, tmp_path, methods=methods, own_methods=own, tables={"t": table})
        with pytest.raises(InputError, match=message):
            reproduce(config)


def test_files_that_a_custom_method_names_are_part_of_what_made_a_map(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from_a_file.py").write_text(
        "from pathlib import Path\nimport torch\n"
        "def predict(batch):\n"
        "    level = float(Path('level.txt').read_text())\n"
        "    return torch.full((len(batch.names), *batch.shape), level)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    table = SCORES | {"methods": ["M"], "scenarios": {"a": SRM}}
    found = []
    for level in ("0.2", "0.9"):
        (tmp_path / "level.txt").write_text(level)
        entry = {"source": "from_a_file:predict", "files": ["level.txt"]}
        methods = {"M": {"any": entry}}
        report = reproduce(
            configure(root, tmp_path, methods=methods, tables={"t": table}, output=level)
        ).read_text()
        assert "follows from `from_a_file.py`, `level.txt`" in report
        found.append((tmp_path / level / "tables" / "t.csv").read_text())
    assert found[0] != found[1]
    missing = {"M": {"any": {"source": "from_a_file:predict", "files": ["gone.txt"]}}}
    with pytest.raises(InputError, match=r"files: gone\.txt does not exist"):
        reproduce(configure(root, tmp_path, methods=missing, tables={"t": table}, output="x"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are the same to the last bit in processes with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_goes_on_and_ends_with_the_same_files(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second checkpoint of training, then in the third batch of maps."""
    optimizer = {"learning_rate": 1e-3, "final_learning_rate": 1e-4, "schedule": "cosine"}
    network = {
        "output": "unused",
        "data": {"root": "unused", "prompt_features": ["buildings", "transmitter"]},
        "model": {"name": "uvmnet", "widths": [2, 3, 3], "grid": 4, "states": 2, "hidden": 2},
        "measurements": None,
        "optimizer": optimizer | {"weight_decay": 0.0, "gradient_clip": None},
        "train": {"steps": 4, "batch_size": 2, "precision": "fp32", "seed": 0, "ema": None}
        | {"log_every": 1, "validate_every": 4, "validation_maps": 1, "checkpoint_every": 1},
    }
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network))
    (tmp_path / "mortal.py").write_text(MORTAL_METHOD)
    trained = {"stage": "baseline", "config": str(tmp_path / "network.yaml")}
    folders = {name: tmp_path / name for name in ("killed", "unbroken")}
    table = SCORES | {"methods": ["N", "M"], "scenarios": {"SRM": SRM}}
    shown = {"kind": "maps", "title": "F", "methods": ["N", "M"], "maps": 2, "scenario": SRM}
    for folder in folders.values():
        folder.mkdir()
        config = configure(
            root,
            folder,
            imports=["mortal"],
            runs="runs",
            methods={
                "N": {"any": {"train": [trained]}},
                "M": {"any": {"source": "mortal:predict"}},
            },
            tables={"t": table},
            figures={"f": shown},
        )

    def killed_while(doing: str) -> bool:
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"DIE": doing, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        command = [sys.executable, str(SCRIPT), "--config", "config.yaml"]
        ended = subprocess.run(
            command,
            cwd=folders["killed"],
            env=environment,
            capture_output=True,
        )
        return ended.returncode == -signal.SIGKILL

    assert killed_while("training")
    checkpoints = folders["killed"] / "runs" / "network" / "checkpoints"
    assert len(list(checkpoints.glob("step_*.json"))) == 1
    assert killed_while("predicting")
    assert not (folders["killed"] / "out" / "report.md").exists()
    monkeypatch.syspath_prepend(tmp_path)
    for folder in folders.values():
        monkeypatch.chdir(folder)
        reproduce(config)

    def results(folder: Path) -> dict[str, bytes]:
        files = (path for path in (folder / "out").rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}

    assert results(folders["killed"]) == results(folders["unbroken"])
    assert len(results(folders["killed"])) == 6
    asked = {
        name: (folder / "asked.txt").read_text().splitlines() for name, folder in folders.items()
    }
    assert len(asked["unbroken"]) == 6
    # Only the batch in which it was killed was asked for again.
    assert asked["killed"] == [*asked["unbroken"][:3], *asked["unbroken"][2:]]
