import csv
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.config import load_config
from radiodiff.data.images import write_levels
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.data.settings import DataConfig
from radiodiff.errors import InputError
from radiodiff.evaluation.metrics import nmse, psnr, rmse, ssim
from radiodiff.evaluation.predictions import (
    evaluate_predictions,
    find_predictions,
    read_prediction,
    score_predictions,
)
from radiodiff.evaluation.settings import EvaluateConfig, MetricConfig

ROOT = Path(__file__).parents[2]


def noisy_levels(dataset, index):
    rng = np.random.default_rng(index)
    levels = dataset.levels(index) + rng.normal(0, 8, dataset.shape)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@pytest.fixture
def predictions(tree, tmp_path):
    """A folder with a prediction of every map, in turn as PNG, NPZ of gray and NPZ of dB."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    dataset = RadioMapSeer(tree)
    for index in range(len(dataset)):
        levels = noisy_levels(dataset, index)
        path = folder / dataset.name(index)
        if index % 3 == 0:
            write_levels(path.with_suffix(".png"), levels)
        elif index % 3 == 1:
            np.savez(path.with_suffix(".npz"), gray=levels / 255)
        else:
            np.savez(path.with_suffix(".npz"), path_gain_db=-147 + 99.16 * levels / 255)
    return folder


def settings(tree, predictions, **values):
    return EvaluateConfig(predictions=predictions, data={"root": tree, "split": "all"}, **values)


def test_every_format_gets_the_score_of_its_map(tree, predictions):
    scores = score_predictions(settings(tree, predictions))
    dataset = RadioMapSeer(tree)
    assert scores.names == [dataset.name(index) for index in range(12)]
    truth = torch.from_numpy(np.stack([dataset.levels(i) for i in range(12)]) / 255)
    predicted = torch.from_numpy(np.stack([noisy_levels(dataset, i) for i in range(12)]) / 255)
    for name, metric in {"nmse": nmse, "rmse": rmse, "ssim": ssim, "psnr": psnr}.items():
        np.testing.assert_allclose(scores.values[name], metric(predicted, truth), rtol=1e-5)
    assert scores.missing == scores.extra == []


def test_buildings_that_are_found_are_compared_with_image_and_footprint(tree, predictions):
    """The exact footprint has IoU 1 with itself; half of it has IoU 1/2, seen in the plain gray."""
    dataset = RadioMapSeer(tree)
    shown = []

    def find(model):
        shown.append(model)
        mask = dataset.footprint(len(shown) - 1).mask.copy()
        if len(shown) > 1:
            mask[tuple(np.argwhere(mask)[::2].T)] = False
        return mask

    data = DataConfig(root=tree, split="all", threshold="thr2")
    scores = score_predictions(EvaluateConfig(predictions=predictions, data=data), find)
    assert scores.values["iou_gain"][0] == 1.0
    mask, png = dataset.footprint(1).mask, dataset.footprint(1).png
    kept = mask.sum() // 2
    assert scores.values["iou_gain"][1].item() == pytest.approx(kept / mask.sum())
    half = mask.copy()
    half[tuple(np.argwhere(mask)[::2].T)] = False
    expected = (half & png).sum() / (half | png).sum()
    assert scores.values["iou"][1].item() == pytest.approx(expected)
    np.testing.assert_allclose(shown[0], noisy_levels(dataset, 0) / 127.5 - 1, atol=1e-6)
    assert "IoU (PNG)" in scores.table("mine")
    on_roofs = EvaluateConfig(
        predictions=predictions, data=data.model_copy(update={"rooftop": True})
    )
    assert "iou" not in score_predictions(on_roofs, find).values


def test_conventions_reach_the_metrics(tree, predictions):
    config = MetricConfig(
        rmse_unit="model", psnr_peak="truth_range", ssim_window="gaussian", pixels="outdoor"
    )
    scores = score_predictions(settings(tree, predictions, metrics=config))
    dataset = RadioMapSeer(tree)
    outdoor = torch.from_numpy(~dataset.footprint(0).mask)
    truth = torch.from_numpy(dataset.levels(0) / 255)
    predicted = torch.from_numpy(noisy_levels(dataset, 0) / 255)
    expected = {
        "nmse": nmse(predicted, truth, outdoor),
        "rmse": rmse(predicted, truth, "model", outdoor),
        "ssim": ssim(predicted, truth, "gaussian"),
        "psnr": psnr(predicted, truth, "truth_range", outdoor),
    }
    for name, value in expected.items():
        assert scores.values[name][0].item() == pytest.approx(value.item(), rel=1e-5)


def test_threshold_is_applied_to_truth_and_prediction(tree, predictions):
    data = DataConfig(root=tree, split="all", threshold="thr2")
    scores = score_predictions(EvaluateConfig(predictions=predictions, data=data))
    dataset = RadioMapSeer(tree)
    truth, predicted = (
        torch.from_numpy(np.maximum(levels / 255 - 0.2, 0) / 0.8)
        for levels in (dataset.levels(0), noisy_levels(dataset, 0))
    )
    assert scores.values["nmse"][0].item() == pytest.approx(nmse(predicted, truth).item(), rel=1e-4)


def test_both_ways_to_ask_for_the_threshold_agree_and_exclude_each_other(tree, predictions):
    stretched = DataConfig(root=tree, split="all", threshold="thr2")
    plain = DataConfig(root=tree, split="all")
    by_data = score_predictions(EvaluateConfig(predictions=predictions, data=stretched))
    metrics = MetricConfig(threshold="thr2")
    by_metric = score_predictions(
        EvaluateConfig(predictions=predictions, data=plain, metrics=metrics)
    )
    for name, values in by_data.values.items():
        torch.testing.assert_close(by_metric.values[name], values)
    with pytest.raises(ValueError, match="has stretched the maps"):
        EvaluateConfig(predictions=predictions, data=stretched, metrics=metrics)
    with pytest.raises(ValueError, match="dB are of gray as stored"):
        MetricConfig(threshold="thr2", rmse_unit="db")


def test_missing_and_extra_predictions_are_named(tree, predictions):
    (predictions / "3_0.png").rename(predictions / "3_9.png")
    (predictions / "notes.txt").write_text("not a prediction")
    with pytest.raises(InputError, match=r"1 of 12 predictions are missing, 3_0; .* missing=skip"):
        score_predictions(settings(tree, predictions))
    scores = score_predictions(settings(tree, predictions, missing="skip"))
    assert scores.missing == ["3_0"]
    assert scores.extra == ["3_9.png"]
    assert len(scores.names) == len(scores.values["nmse"]) == 11


def test_a_folder_without_any_prediction_of_the_part_is_refused(tree, predictions, tmp_path):
    config = settings(tree, tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: no such folder of predictions"):
        score_predictions(config)
    for path in predictions.iterdir():
        path.unlink()
    np.savez(predictions / "wrong.npz", gray=np.zeros((24, 32)))
    with pytest.raises(InputError, match=r"holds no prediction of the 12 maps, .*found wrong.npz"):
        score_predictions(settings(tree, predictions, missing="skip"))


def test_one_map_predicted_twice_is_refused(predictions):
    np.savez(predictions / "3_0.npz", gray=np.zeros((24, 32)))
    with pytest.raises(InputError, match=r"both 3_0.npz and 3_0.png are there"):
        find_predictions(predictions)


def test_predictions_are_clipped_like_an_image(tmp_path):
    np.savez(tmp_path / "a.npz", gray=np.array([[-0.5, 0.25, 1.5]]))
    assert read_prediction(tmp_path / "a.npz", (1, 3)).tolist() == [[0.0, 0.25, 1.0]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"map": np.zeros((4, 4))}, "holds map, expected the array gray or path_gain_db"),
        ({}, "holds nothing, expected"),
        ({"gray": np.zeros((4, 5))}, r"shape \(4, 5\), expected \(4, 4\)"),
        ({"gray": np.full((4, 4), np.nan)}, "holds NaN or infinity"),
        ({"gray": np.full((4, 4), "x")}, "holds <U1 values, expected real numbers"),
        ({"gray": np.full((4, 4), 1j)}, "holds complex128 values, expected real numbers"),
        ({"path_gain_db": np.full((4, 4), -60 + 1j)}, "holds complex128 values"),
        (b"PK\x03\x04 broken", "corrupt or not an NPZ of numbers"),
        (b"", "corrupt or not an NPZ of numbers"),
    ],
)
def test_a_bad_prediction_is_named(tmp_path, arrays, words):
    path = tmp_path / "12_7.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    else:
        np.savez(path, **arrays)
    with pytest.raises(InputError, match=f"12_7.npz: {words}"):
        read_prediction(path, (4, 4))


def test_a_folder_with_one_map_of_nan_gets_no_score(tree, predictions):
    (predictions / "3_0.png").unlink()
    np.savez(predictions / "3_0.npz", gray=np.full((24, 32), np.nan))
    with pytest.raises(InputError, match=r"3_0\.npz: holds NaN or infinity"):
        evaluate_predictions(settings(tree, predictions))
    scores = predictions / "scores"
    assert not scores.exists() or [path.name for path in scores.iterdir()] == ["config.yaml"]


def test_files_of_a_run(tree, predictions):
    config = settings(tree, predictions, method="noisy")
    scores = evaluate_predictions(config)
    folder = predictions / "scores"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "per_map.csv",
        "summary.json",
        "table.md",
    ]
    rows = list(csv.DictReader((folder / "per_map.csv").open()))
    assert [row["name"] for row in rows] == scores.names
    assert [float(row["psnr"]) for row in rows] == scores.values["psnr"].tolist()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["mean"] == scores.means()
    assert summary["scored"] == 12
    assert summary["made_by"]["config"]["metrics"]["rmse_unit"] == "gray"
    assert f"| noisy | {scores.means()['nmse']:.4f} |" in (folder / "table.md").read_text()
    assert load_config(folder / "config.yaml", EvaluateConfig) == config
    before = (folder / "summary.json").read_bytes()
    with pytest.raises(InputError, match="another configuration"):
        evaluate_predictions(settings(tree, predictions, method="other"))
    # The same maps under other conventions have a folder of their own.
    conventions = {"rmse_unit": "db", "pixels": "outdoor"}
    other = evaluate_predictions(
        settings(tree, predictions, method="noisy", metrics=MetricConfig(**conventions))
    )
    found = json.loads((predictions / "scores-db-outdoor" / "summary.json").read_text())
    assert found["mean"] == other.means() != scores.means()
    assert (folder / "summary.json").read_bytes() == before


@pytest.mark.parametrize("name", ["small", "smoke"])
def test_shipped_configurations_load(name):
    load_config(ROOT / f"configs/{name}/evaluate.yaml", EvaluateConfig)


@pytest.fixture
def run_script(monkeypatch):
    """A function that runs scripts/evaluate.py with arguments and returns its exit status."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(ROOT / "scripts/evaluate.py"), run_name="__main__")
        return exit_.value.code

    return run


def test_the_script_scores_a_folder_of_anybody(run_script, tree, predictions, tmp_path, capsys):
    output = tmp_path / "scores: of a method"
    assert run_script("--predictions", predictions, "--data", tree, f"output='{output}'") == 0
    printed = capsys.readouterr().out
    assert "12 maps scored" in printed
    assert (output / "table.md").read_text() in printed


def test_the_script_ends_with_one_line_and_status_2(run_script, tree, predictions, capsys):
    Image.new("L", (8, 8)).save(predictions / "3_0.png")
    assert run_script("--predictions", predictions, "--data", tree) == 2
    assert "3_0.png: 8 x 8 pixels" in capsys.readouterr().err.splitlines()[-1]
    assert not (predictions / "scores").exists()


@pytest.mark.real
def test_real_maps_score(real_root, tmp_path):
    dataset = RadioMapSeer(real_root, transmitters=[0])
    names = [dataset.name(index) for index in range(min(len(dataset), 28))]
    for index, name in enumerate(names):
        np.savez(tmp_path / f"{name}.npz", gray=dataset.levels(index) / 255)
    scores = score_predictions(settings(real_root, tmp_path, missing="skip"))
    assert scores.names == names
    assert scores.values["nmse"].max() < 1e-12
    assert scores.values["ssim"].min() > 0.999999
