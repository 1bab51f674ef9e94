"""The scripts as users run them, on the smallest sizes, and what they say to wrong input."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.data.radiomapseer import RadioMapSeer

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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of simulated cities, and every stage of configs/smoke after two steps on them."""
    folder = tmp_path_factory.mktemp("trained")
    simulated = folder / "simulated"
    run = ("--config", SMOKE / "simulate.yaml", f"output={simulated}", "layouts=4", "workers=1")
    assert run_script("simulate.py", *run) == 0
    extra = {
        "vae": ["loss.discriminator_start=1"],
        "ldm": [f"vae={folder / 'vae' / 'model'}"],
        "decoder": [f"pipeline={folder / 'ldm' / 'model'}"],
        "prior": [],
    }
    for stage, overrides in extra.items():
        status = run_script(
            f"train_{stage}.py",
            "--config",
            SMOKE / f"{stage}.yaml",
            f"output={folder / stage}",
            *data_of(folder),
            "train.steps=2",
            "train.batch_size=2",
            *overrides,
        )
        assert status == 0
    return folder


def data_of(trained: Path) -> tuple[str, ...]:
    return (f"data.root={trained / 'simulated'}", "data.fractions=[0.4,0.3,0.3]")


def test_the_demo_leaves_a_figure_a_table_a_survey_and_its_provenance(tmp_path: Path) -> None:
    status = run_script(
        "demo.py",
        "--config",
        ROOT / "configs" / "demo.yaml",
        f"output={tmp_path}",
        "num_maps=1",
        "sampling_steps=1",
        "num_particles=1",
        "num_inference_steps=2",
        "survey.points=2000",
        "survey.held_out=200",
    )
    assert status == 0
    with Image.open(tmp_path / "demo.png") as figure:
        assert figure.width > 500
    table = (tmp_path / "table.md").read_text()
    for word in ("NMSE", "RMSE", "SSIM", "PSNR", "RadioDiff (", "Inverse", "nearest", "linear"):
        assert word in table
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["made_by"]["config"]["num_maps"] == 1
    # What the survey gives agrees with measurements it has not seen, but for their own noise.
    survey = results["survey"]
    noise = survey["noise_std_db"]
    assert noise - 0.3 < survey["held_out_rmse_db"] < 2.0 * noise
    # Interpolation knows nothing of buildings, where nobody reported.
    assert survey["map_rmse_db"] < 0.8 * survey["kriging_map_rmse_db"]
    assert survey["building_iou"] > 0.3
    assert survey["transmitter_error_m"] < 10.0
    assert len((tmp_path / "survey.csv").read_text().splitlines()) == 2001
    assert (tmp_path / "survey" / "map.png").is_file()


def test_generated_maps_are_written_once_and_scored(trained: Path, tmp_path: Path) -> None:
    arguments = (
        "--config",
        SMOKE / "infer_ldm.yaml",
        f"model={trained / 'decoder' / 'model'}",
        *data_of(trained),
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
    buildings = RadioMapSeer(trained / "simulated", [int(name)]).footprint(0).mask
    assert not np.asarray(Image.open(maps[0]))[buildings].any()
    scoring = (
        "--config",
        SMOKE / "evaluate.yaml",
        *data_of(trained),
        f"predictions={tmp_path / 'maps'}",
    )
    assert run_script("evaluate.py", *scoring) == 0
    scores = json.loads((tmp_path / "maps" / "scores" / "summary.json").read_text())
    assert scores["scored"] == 3


def test_maps_are_reconstructed_from_samples(trained: Path, tmp_path: Path) -> None:
    status = run_script(
        "infer_inverse.py",
        "--config",
        SMOKE / "infer_inverse.yaml",
        f"prior={trained / 'prior' / 'model'}",
        *data_of(trained),
        f"output={tmp_path / 'run'}",
        "num_inference_steps=3",
        "max_maps=2",
    )
    assert status == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"radiodiff-inverse", "nearest", "linear"} < set(summary)


@pytest.mark.real
def test_real_maps_are_reconstructed_and_scored(
    trained: Path, tmp_path: Path, real_root: Path
) -> None:
    """The path from real files to scores; the prior here is untrained and of another size."""
    real = (f"data.root={real_root}", "data.split=all")
    status = run_script(
        "train_prior.py",
        "--config",
        SMOKE / "prior.yaml",
        f"output={tmp_path / 'prior'}",
        f"data.root={trained / 'simulated'}",
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
        ("train_decoder.py", "decoder", "pipeline=nowhere", ["nowhere", "model_index.json"]),
        ("train_prior.py", "prior", "data.split=radiounet", ["split radiounet", "lacks"]),
        ("infer_ldm.py", "infer_ldm", "model=nowhere", ["nowhere", "model_index.json"]),
        (
            "infer_inverse.py",
            "infer_inverse",
            "measurements.noise_std=-1",
            ["noise_std", "found -1"],
        ),
        ("infer_inverse.py", "infer_inverse", "prior=nowhere", ["nowhere", "train_prior.py"]),
        ("evaluate.py", "evaluate", "predictions=nowhere", ["nowhere", "no such folder"]),
        ("simulate.py", "simulate", "layouts=0", ["layouts", "found 0"]),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    config: str,
    override: str,
    words: list[str],
) -> None:
    arguments = ["--config", SMOKE / f"{config}.yaml", f"output={tmp_path / 'run'}"]
    if script != "simulate.py":
        arguments.append(f"data.root={trained / 'simulated'}")
    capsys.readouterr()
    assert run_script(script, *arguments, override) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for word in words:
        assert word in message
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_architecture_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--config",
        SMOKE / "prior.yaml",
        f"output={tmp_path / 'run'}",
        f"data.root={trained / 'simulated'}",
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


def test_the_checker_prints_what_is_wrong_and_draws_maps(
    make_tree: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, figure = make_tree(), tmp_path / "maps.png"
    assert run_script("check_dataset.py", root, "--figure", figure) == 0
    with Image.open(figure) as image:
        assert image.width > 500
    assert "nothing is wrong" in capsys.readouterr().out
    (root / "gain" / "DPM" / "3_0.png").write_bytes(b"")
    assert run_script("check_dataset.py", root, "--figure", figure) == 1
    assert "1 x gain maps that cannot be read: DPM/3_0.png" in capsys.readouterr().out
    assert run_script("check_dataset.py", tmp_path / "none") == 2
