"""The scripts as users run them, on the smallest sizes, and what they say to wrong input."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "configs" / "smoke"
Run = Callable[..., int]


def run_script(name: str, *arguments: str | Path) -> int:
    """Run a script in this process and return its exit status."""
    argv = sys.argv
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
    except SystemExit as exit_info:
        return int(exit_info.code or 0)
    finally:
        sys.argv = argv
    raise AssertionError("a script ends with an exit status")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the demo with every stage cut to two steps."""
    folder = tmp_path_factory.mktemp("demo")
    stages = {}
    for stage in ("vae", "ldm", "prior"):
        values = yaml.safe_load((SMOKE / f"{stage}.yaml").read_text())
        values["train"] |= {"steps": 2, "batch_size": 2}
        values["data"]["fractions"] = [0.4, 0.3, 0.3]
        if stage == "vae":
            values["loss"]["discriminator_start"] = 1
        stages[stage] = folder / f"{stage}.yaml"
        stages[stage].write_text(yaml.safe_dump(values))
    simulate = folder / "simulate.yaml"
    values = yaml.safe_load((SMOKE / "simulate.yaml").read_text())
    simulate.write_text(yaml.safe_dump(values | {"layouts": 4, "workers": 1}))
    status = run_script(
        "demo.py",
        "--config",
        ROOT / "configs" / "demo.yaml",
        f"output={folder / 'out'}",
        f"simulate={simulate}",
        *(f"{stage}={path}" for stage, path in stages.items()),
        "num_maps=2",
        "sampling_steps=1",
        "inverse_steps=3",
        "num_particles=2",
    )
    assert status == 0
    return folder / "out"


def data_of(demo: Path) -> tuple[str, ...]:
    return (f"data.root={demo / 'simulated'}", "data.fractions=[0.4,0.3,0.3]")


def test_the_demo_leaves_a_figure_a_table_and_its_provenance(demo: Path) -> None:
    with Image.open(demo / "demo.png") as figure:
        assert figure.width > 500
    table = (demo / "table.md").read_text()
    for column in ("NMSE", "RMSE", "SSIM", "PSNR"):
        assert column in table
    for method in ("RadioDiff (", "RadioDiff-Inverse", "nearest", "linear"):
        assert method in table
    results = json.loads((demo / "results.json").read_text())
    assert len(results["maps"]) == 2
    assert results["made_by"]["config"]["num_maps"] == 2
    trained = {"vae", "ldm", "prior"}
    assert trained < {path.name for path in demo.iterdir()}
    # The maps that are shown come from cities that no stage trained on.
    index = json.loads((demo / "simulated" / "manifest.json").read_text())
    assert index


def test_generated_maps_are_written_once_and_scored(demo: Path, tmp_path: Path) -> None:
    arguments = (
        "--config",
        SMOKE / "infer_ldm.yaml",
        f"model={demo / 'ldm' / 'model'}",
        *data_of(demo),
        f"output={tmp_path}",
        "max_maps=3",
    )
    assert run_script("infer_ldm.py", *arguments) == 0
    maps = sorted((tmp_path / "maps").glob("*.png"))
    assert len(maps) == 3
    first = maps[0].read_bytes()
    maps[0].unlink()
    untouched = maps[1].stat().st_mtime_ns
    assert run_script("infer_ldm.py", *arguments) == 0
    assert maps[0].read_bytes() == first
    assert maps[1].stat().st_mtime_ns == untouched
    name = maps[0].stem.split("_")[0]
    buildings = np.asarray(
        Image.open(demo / "simulated" / "png" / "buildings_complete" / f"{name}.png")
    )
    assert not np.asarray(Image.open(maps[0]))[buildings > 0].any()
    scoring = (
        "--config",
        SMOKE / "evaluate.yaml",
        *data_of(demo),
        f"predictions={tmp_path / 'maps'}",
    )
    assert run_script("evaluate.py", *scoring) == 0
    scores = json.loads((tmp_path / "maps" / "scores" / "summary.json").read_text())
    assert scores["scored"] == 3


def test_maps_are_reconstructed_from_samples(demo: Path, tmp_path: Path) -> None:
    status = run_script(
        "infer_inverse.py",
        "--config",
        SMOKE / "infer_inverse.yaml",
        f"prior={demo / 'prior' / 'model'}",
        *data_of(demo),
        f"output={tmp_path / 'run'}",
        "num_inference_steps=3",
        "max_maps=2",
    )
    assert status == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"radiodiff-inverse", "nearest", "linear"} < set(summary)


@pytest.mark.real
def test_real_maps_are_reconstructed_and_scored(
    demo: Path, tmp_path: Path, real_root: Path
) -> None:
    """The path from real files to scores; the prior here is untrained and of another size."""
    real = (f"data.root={real_root}", "data.split=all")
    status = run_script(
        "train_prior.py",
        "--config",
        SMOKE / "prior.yaml",
        f"output={tmp_path / 'prior'}",
        f"data.root={demo / 'simulated'}",
        "data.fractions=[0.4,0.3,0.3]",
        "model.patch_size=4",
        "train.steps=1",
        "train.batch_size=1",
    )
    assert status == 0
    config = tmp_path / "prior" / "model" / "unet" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"sample_size": 256}))
    status = run_script(
        "infer_inverse.py",
        "--config",
        SMOKE / "infer_inverse.yaml",
        f"prior={tmp_path / 'prior' / 'model'}",
        *real,
        f"output={tmp_path / 'run'}",
        "num_inference_steps=2",
        "num_particles=1",
        "batch_size=7",
    )
    assert status == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["linear"]["psnr"]["mean"] > summary["nearest"]["psnr"]["mean"] > 20.0
    gain = real_root / "gain" / "DPM"
    scoring = (
        "--config",
        SMOKE / "evaluate.yaml",
        *real,
        f"predictions={gain}",
        f"output={tmp_path / 'scores'}",
    )
    assert run_script("evaluate.py", *scoring) == 0
    scores = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert scores["scored"] == len(list(gain.glob("*.png")))
    assert scores["mean"]["nmse"] == 0.0
    assert scores["mean"]["ssim"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("script", "config", "override", "words"),
    [
        ("train_vae.py", "vae", "data.root=nowhere", ["nowhere", "no such dataset folder"]),
        ("train_vae.py", "vae", "train.step=3", ["train.step", "unknown key", "'steps'"]),
        ("train_vae.py", "vae", "train.steps=0", ["train.steps", "found 0"]),
        ("train_ldm.py", "ldm", "vae=nowhere", ["nowhere", "train_vae.py"]),
        ("train_prior.py", "prior", "data.split=radiounet", ["split radiounet", "lacks"]),
        ("infer_ldm.py", "infer_ldm", "model=nowhere", ["nowhere", "model_index.json"]),
        ("infer_inverse.py", "infer_inverse", "noise_std=-1", ["noise_std", "found -1"]),
        ("infer_inverse.py", "infer_inverse", "prior=nowhere", ["nowhere", "train_prior.py"]),
        ("evaluate.py", "evaluate", "predictions=nowhere", ["nowhere", "no such folder"]),
        ("simulate.py", "simulate", "layouts=0", ["layouts", "found 0"]),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    demo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    config: str,
    override: str,
    words: list[str],
) -> None:
    arguments = ["--config", SMOKE / f"{config}.yaml", f"output={tmp_path / 'run'}"]
    if script != "simulate.py":
        arguments.append(f"data.root={demo / 'simulated'}")
    capsys.readouterr()
    assert run_script(script, *arguments, override) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--config",
        SMOKE / "prior.yaml",
        f"output={tmp_path / 'run'}",
        f"data.root={demo / 'simulated'}",
        "data.fractions=[0.4,0.3,0.3]",
        "train.steps=1",
        "train.batch_size=1",
    ]
    assert run_script("train_prior.py", *arguments) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    for extra in ([], ["--resume", "model.block_out_channels=[64,64]"]):
        assert run_script("train_prior.py", *arguments, *extra) == 2
    errors = capsys.readouterr().err
    assert "add --resume" in errors
    assert "another configuration (model.block_out_channels" in errors
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
