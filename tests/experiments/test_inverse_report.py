"""The benchmark of RadioDiff-Inverse with nothing behind the command, and what it leaves."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule

SCRIPT = Path(__file__).parents[2] / "scripts" / "infer_inverse.py"


def test_without_a_dataset_simulated_maps_are_reconstructed_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unet = PatchUNet(sample_size=256, patch_size=16, block_out_channels=(32,), attention=False)
    prior = RadioDiffInversePipeline(unet=unet, scheduler=build_noise_schedule())
    prior.save_pretrained(tmp_path / "prior")
    monkeypatch.chdir(tmp_path)  # no dataset there
    options = [f"prior={tmp_path / 'prior'}", "num_inference_steps=2", "baselines=[linear]"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert not ended.value.code
    assert "does not exist, so this run simulates" in capsys.readouterr().out
    (folder,) = (tmp_path / "outputs" / "small").iterdir()
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["map"] for row in rows}) == 2
    assert [row["method"] for row in rows].count("linear") == 2
    table = (folder / "table.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["radiodiff-inverse", "linear"]
    with np.load(folder / "maps.npz") as maps:
        assert maps["truth"].shape == maps["mean"].shape == maps["std"].shape == (2, 256, 256)
        seen = np.isfinite(maps["observed"])
        np.testing.assert_allclose(seen.mean(), 0.2, atol=1e-3)
        # Sigma 0.05 on the true map.
        error = (maps["observed"] - maps["truth"])[seen]
        assert 0.045 < error.std() < 0.055
    with Image.open(folder / "maps.png") as picture:
        assert picture.width > 500
