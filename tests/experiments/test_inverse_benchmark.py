import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.experiments.inverse_benchmark import run_benchmark, summarise
from radiodiff.experiments.settings import InverseConfig
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.units import model_to_db


def config(prior, root, output, **changes):
    return InverseConfig.model_validate(
        {
            "output": output,
            "prior": prior,
            "data": {"root": root, "split": "all"},
            "measurements": {"missing_ratio": 0.8, "noise_std": 0.05},
            "num_particles": 2,
            "num_inference_steps": 3,
            **changes,
        }
    )


def read_rows(directory):
    with (directory / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_map_seed_and_method_has_a_row(prior_directory, tree, tmp_path):
    settings = config(
        prior_directory, tree, tmp_path / "run", seeds=(0, 1), baselines=("nearest", "kriging")
    )
    run_benchmark(settings)
    rows = read_rows(tmp_path / "run")
    found = {(row["map"], row["seed"], row["method"]) for row in rows}
    methods = ("radiodiff-inverse", "nearest", "kriging")
    assert found == {(f"{m}_0", s, name) for m in (1, 2, 3) for s in "01" for name in methods}
    assert len(rows) == 18
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    psnr = [float(r["psnr"]) for r in rows if r["method"] == "kriging"]
    assert summary["kriging"]["psnr"]["mean"] == pytest.approx(np.mean(psnr))
    assert summary["provenance"]["config"]["measurements"]["noise_std"] == 0.05
    assert not list((tmp_path / "run").glob("*.partial*"))


def test_a_prior_that_overflows_is_refused_and_nothing_is_scored(prior_directory, tree, tmp_path):
    pipeline = RadioDiffInversePipeline.from_pretrained(prior_directory)
    for weight in pipeline.unet.parameters():
        torch.nn.init.constant_(weight, 3e38)
    pipeline.save_pretrained(tmp_path / "broken")
    with pytest.raises(InputError, match="not finite at step 1"):
        run_benchmark(config(tmp_path / "broken", tree, tmp_path / "run"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_results_do_not_depend_on_the_batch_size(prior_directory, tree, tmp_path):
    psnr = []
    for batch_size in (1, 2):
        directory = tmp_path / str(batch_size)
        run_benchmark(config(prior_directory, tree, directory, batch_size=batch_size))
        rows = read_rows(directory)
        psnr.append([float(r["psnr"]) for r in rows if r["method"] == "radiodiff-inverse"])
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-3)


@pytest.mark.parametrize(("kind", "aware"), [("pixel", True), ("block", False), ("block", True)])
def test_masks_and_awareness_reach_the_samples(prior_directory, tree, tmp_path, kind, aware):
    protocol = {"kind": kind, "aware": aware, "missing_ratio": 0.8, "noise_std": 0.05}
    run_benchmark(
        config(prior_directory, tree, tmp_path / "run", measurements=protocol, max_maps=1)
    )
    with np.load(tmp_path / "run" / "maps.npz") as arrays:
        reported, truth = arrays["observed"][0], arrays["truth"][0]
    observed, buildings = np.isfinite(reported), truth == -1
    assert observed[buildings].all() == aware
    assert (reported[buildings] == -1).all() == aware
    total = (~buildings).sum() if aware else buildings.size
    assert observed[~buildings].sum() == pytest.approx(
        0.2 * total, abs=0.5 if kind == "block" else 60
    )


def test_rounded_measurements_reach_the_samples(prior_directory, tree, tmp_path):
    protocol = {"missing_ratio": 0.8, "noise_std": 0.0, "quantise_db": 4.0}
    run_benchmark(config(prior_directory, tree, tmp_path, measurements=protocol, num_particles=1))
    with np.load(tmp_path / "maps.npz") as maps:
        reported = maps["observed"][np.isfinite(maps["observed"])]
    decibels = model_to_db(reported.astype(np.float64))
    np.testing.assert_allclose(decibels, 4.0 * np.rint(decibels / 4.0), atol=1e-4)


def test_confidence_interval_is_over_seeds():
    rows = [
        {"map": "1_0", "seed": seed, "method": "m", "psnr": value}
        for seed, values in enumerate([(20.0, 22.0), (24.0, 26.0)])
        for value in values
    ]
    entry = summarise(rows)["m"]["psnr"]
    assert entry["mean"] == 23.0
    assert entry["ci95"] == pytest.approx(1.96 * 8**0.5 / 2**0.5)


def test_a_prior_that_is_missing_or_does_not_fit_is_refused(prior_directory, tree, tmp_path):
    with pytest.raises(InputError, match=r"no prior there \(model_index.json is missing\)"):
        run_benchmark(config(tmp_path, tree, tmp_path / "run"))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="the key 'unet' is missing"):
        run_benchmark(config(broken, tree, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.real
def test_benchmark_runs_on_the_real_tree(tmp_path):
    root = os.environ.get("RADIOMAPSEER_ROOT")
    if root is None:
        pytest.skip("RADIOMAPSEER_ROOT is not set")
    from radiodiff.inverse.pipeline import RadioDiffInversePipeline
    from radiodiff.inverse.prior import PatchUNet, build_noise_schedule

    torch.manual_seed(0)
    prior = PatchUNet(block_out_channels=(32, 32))
    RadioDiffInversePipeline(prior, build_noise_schedule()).save_pretrained(tmp_path / "prior")
    summary = run_benchmark(
        config(tmp_path / "prior", Path(root), tmp_path / "run", max_maps=2, baselines=("kriging",))
    )
    assert summary["maps"] == 2
    assert 22 < summary["kriging"]["psnr"]["mean"] < 32
    assert summary["kriging"]["transmitter_m"]["mean"] < 3


def test_errors_in_db_and_metres_are_those_of_the_tree(prior_directory, tree, tmp_path):
    data = {"root": tree, "split": "all"}
    own = data | {"scale": {"min_db": -160, "max_db": -40}, "resolution_m": 2.0}
    for name, changed in (("plain", data), ("own", own)):
        run_benchmark(config(prior_directory, tree, tmp_path / name, data=changed, max_maps=1))
    plain, scaled = (read_rows(tmp_path / name)[0] for name in ("plain", "own"))
    assert scaled["rmse_model"] == plain["rmse_model"]
    for unit, factor in (("rmse_db", 120 / 99.16), ("transmitter_m", 2)):
        assert float(scaled[unit]) == pytest.approx(factor * float(plain[unit]), rel=1e-6)
    with np.load(tmp_path / "own" / "maps.npz") as arrays:
        assert arrays["scale_db"].tolist() == [-160, -40]
