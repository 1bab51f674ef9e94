"""The weights in data/pretrained, and how they are written."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from radiodiff.data.masks import pixel_mask
from radiodiff.data.measurements import Measurements, measure
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.evaluation import metrics
from radiodiff.experiments.methods import load_method, predict_maps
from radiodiff.experiments.settings import MethodSettings
from radiodiff.inverse.interpolation import kriging, linear
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.simulate import dominant_path
from radiodiff.simulate.procedural import procedural_city
from radiodiff.units import db_to_gray, db_to_model, model_to_gray

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "data" / "pretrained"
MAX_SHIPPED_BYTES = 80_000_000


def export(monkeypatch: pytest.MonkeyPatch, *arguments: Path) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["export_weights.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as status:
        runpy.run_path(str(ROOT / "scripts" / "export_weights.py"), run_name="__main__")
    return status.value.code


def test_exported_weights_are_the_same_to_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    unet = PatchUNet(sample_size=32, block_out_channels=(32, 32))
    with torch.no_grad():
        unet.unet.conv_in.bias[0] = 1e6  # more than half precision holds
    unet.save_pretrained(tmp_path / "unet")
    unet = PatchUNet.from_pretrained(tmp_path / "unet")  # which notes where it comes from
    RadioDiffInversePipeline(unet, build_noise_schedule()).save_pretrained(tmp_path / "model")
    assert export(monkeypatch, tmp_path / "model", tmp_path / "half") == 0
    (file,) = (tmp_path / "half").rglob("*.safetensors")
    weights = load_file(file)
    assert weights.pop("unet.conv_in.bias").dtype == torch.float32
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert "_name_or_path" in (tmp_path / "model" / "unet" / "config.json").read_text()
    assert "_name_or_path" not in (tmp_path / "half" / "unet" / "config.json").read_text()
    found = RadioDiffInversePipeline.from_pretrained(tmp_path / "half").unet.state_dict()
    for name, weight in unet.state_dict().items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], weight, atol=1e-7, rtol=2**-10)

    before = file.read_bytes()
    assert export(monkeypatch, tmp_path / "model", tmp_path / "half") == 2
    assert "exists already" in capsys.readouterr().err
    assert file.read_bytes() == before
    assert export(monkeypatch, tmp_path / "none", tmp_path / "other") == 2
    assert "no model there" in capsys.readouterr().err


def a_model(directory: Path) -> Path:
    unet = PatchUNet(sample_size=32, block_out_channels=(32,))
    RadioDiffInversePipeline(unet, build_noise_schedule()).save_pretrained(directory)
    return directory


def test_truncated_weights_are_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = a_model(tmp_path / "model")
    (file,) = model.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    assert export(monkeypatch, model, tmp_path / "half") == 2
    assert "model: damaged" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (SafetensorError("I/O error: No space left on device"), 2, "half: cannot be written"),
        (OSError(28, "No space left on device"), 2, "half: cannot be written"),
    ],
)
def test_an_export_that_stops_half_way_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def stop(weights: dict[str, torch.Tensor], file: Path, **options: object) -> None:
        file.write_bytes(b"half")
        raise error

    model = a_model(tmp_path / "model")
    monkeypatch.setattr("safetensors.torch.save_file", stop)
    assert export(monkeypatch, model, tmp_path / "half") == status
    assert line in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_shipped_weights_are_small_half_precision_and_described() -> None:
    models = [index.parent for index in SHIPPED.glob("*/model_index.json")]
    files = [file for model in models for file in model.rglob("*.safetensors")]
    assert files
    assert sum(file.stat().st_size for file in files) <= MAX_SHIPPED_BYTES
    for file in files:
        for name, weight in load_file(file).items():
            assert weight.isfinite().all(), (file, name)
            half = weight.half().isfinite().all() and weight.is_floating_point()
            assert not half or weight.dtype == torch.float16, (file, name)
    for model in models:
        assert (model / "README.md").is_file(), model
        for file in model.rglob("*.json"):
            assert "_name_or_path" not in file.read_text(), file


def reconstruct(
    truth: torch.Tensor, particles: int, seed: int
) -> tuple[Measurements, InverseOutput]:
    """Observe a fifth of a map (1, 1, H, W) and give it to the shipped prior, five steps."""
    mask = torch.from_numpy(pixel_mask(truth.shape[-2:], 0.8, np.random.default_rng(seed)))
    measured = measure(truth, mask[None, None], 0.05, torch.Generator().manual_seed(seed))
    pipeline = RadioDiffInversePipeline.from_pretrained(SHIPPED / "prior-small")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    out = pipeline(
        measured,
        num_particles=particles,
        num_inference_steps=5,
        generator=torch.Generator().manual_seed(seed),
    )
    return measured, out


def psnr(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Compare two maps in model range."""
    return float(metrics.psnr(model_to_gray(found.float().clamp(-1, 1)), model_to_gray(truth)))


def test_the_shipped_prior_beats_interpolation_on_an_unseen_city() -> None:
    city = procedural_city(np.random.default_rng(12345), 256)
    position = tuple(np.argwhere(~city.building_mask)[20_000])
    gain = dominant_path.path_gain(city, (int(position[0]), int(position[1])))
    truth = torch.from_numpy(db_to_model(gain.astype(np.float64))).float()
    measured, out = reconstruct(truth[None, None], particles=2, seed=0)
    plain = torch.from_numpy(linear(measured.values[0, 0].numpy(), measured.mask[0, 0].numpy()))
    assert psnr(out.mean[0, 0], truth) > psnr(plain, truth) + 3.0
    buildings = torch.from_numpy(city.building_mask)[None]
    assert float(metrics.iou(out.building_mask[0], buildings)) > 0.9


def test_the_shipped_radiodiff_knows_an_unseen_city() -> None:
    city = procedural_city(np.random.default_rng(12345), 256)
    row, column = np.argwhere(~city.building_mask)[20_000]
    gain = dominant_path.path_gain(city, (int(row), int(column)))
    truth = torch.from_numpy(db_to_gray(gain.astype(np.float64))).float()
    pipeline = RadioDiffPipeline.from_pretrained(SHIPPED / "radiodiff-small")
    assert pipeline.denoiser.dtype == torch.float32
    generator = torch.Generator().manual_seed(0)
    found = pipeline(city.building_mask, (int(row), int(column)), generator=generator).gray[0]
    assert float(metrics.nmse(found, truth)) < 0.03
    assert float(metrics.ssim(found, truth)) > 0.88
    assert found[torch.from_numpy(city.building_mask)].max() == 0.0


@pytest.mark.real
def test_the_shipped_radiodiff_does_so_on_real_maps(real_root: Path) -> None:
    """No worse than an independent run of the published weights, which saw real ones."""
    method = load_method(MethodSettings(source=str(SHIPPED / "radiodiff-small")))
    maps = list(predict_maps(method, DataConfig(root=real_root, split="all"), "test"))
    assert maps
    for metric, low, high in (
        (metrics.nmse, 0.0, 0.0101),
        (metrics.ssim, 0.942, 1.0),
        (metrics.psnr, 28.1, 99.0),
    ):
        assert low < np.mean([float(metric(one.gray, one.truth)) for one in maps]) < high


@pytest.mark.real
def test_the_shipped_prior_finds_walls_on_real_maps(real_root: Path) -> None:
    """Far above kriging, and above the printed IoU of 0.89 at 80 % missing (Table II)."""
    data = build_dataset(DataConfig(root=real_root, split="all"), "test")
    gains, ious = [], []
    for index in range(0, len(data), max(1, len(data) // 4)):
        truth, buildings = data[index]["gain"], data[index]["buildings"] > 0.5
        measured, out = reconstruct(truth[None], particles=3, seed=index)
        kriged = kriging(measured.values[0, 0].numpy(), measured.mask[0, 0].numpy())
        gains.append(psnr(out.mean[0, 0], truth[0]) - psnr(torch.from_numpy(kriged), truth[0]))
        ious.append(float(metrics.iou(out.building_mask[0], buildings)))
    assert np.mean(gains) > 3.0
    assert np.mean(ious) > 0.9
