"""RadioDiff shown measurements: from the prompt's channel through training to maps of a tree."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from radiodiff.data.measurements import Measurements, measure, show_measurements
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.experiments.generation import generate_maps
from radiodiff.experiments.methods import load_method, predict_maps
from radiodiff.experiments.settings import GenerateConfig, MethodSettings
from radiodiff.training.measuring import draw_prompt
from radiodiff.training.settings import MeasurementRanges

FEATURES = ["transmitter", "measurements"]
RANGES = {"kind": "pixel", "aware": False, "missing_ratio": [0.5, 0.9], "noise_std": [0.0, 0.1]}
PROTOCOL = {"missing_ratio": 0.8, "noise_std": 0.0}


def measured(gain: torch.Tensor, mask: torch.Tensor) -> Measurements:
    return measure(gain, mask, 0.0, torch.Generator().manual_seed(0))


def test_the_channel_holds_gray_where_measured_and_minus_one_elsewhere() -> None:
    gain = torch.linspace(-1.0, 1.0, 12).reshape(1, 1, 3, 4)
    mask = (torch.arange(12).reshape(1, 1, 3, 4) % 3) == 0
    prompt = torch.full((2, 2, 4, 4), -1.0)
    shown = show_measurements(prompt, FEATURES, measured(gain, mask))
    expected = torch.where(mask[0, 0], (gain[0, 0] + 1) / 2, torch.tensor(-1.0))
    for one in shown:
        assert torch.equal(one[0], prompt[0, 0])
        torch.testing.assert_close(one[1, :3], expected)
        assert (one[1, 3] == -1.0).all()  # below the map, where a small map's scene goes on
    assert (prompt == -1.0).all()


def test_channel_and_measurements_go_together() -> None:
    measurements = measured(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool))
    prompt = torch.zeros(2, 2, 4, 4)
    with pytest.raises(InputError, match="no channel 'measurements'"):
        show_measurements(prompt, ["buildings", "transmitter"], measurements)
    with pytest.raises(InputError, match="measurements: none given"):
        show_measurements(prompt, FEATURES, None)
    with pytest.raises(InputError, match="found 1 maps of 4 x 4, expected 2 of 3 x 4"):
        show_measurements(prompt[:, :, :3], FEATURES, measurements)


def test_every_sample_is_measured_anew_within_the_ranges() -> None:
    ranges = MeasurementRanges.model_validate(RANGES | {"noise_std": [0.0, 0.0]})
    item = {
        "gain": torch.linspace(-1.0, 1.0, 256).reshape(1, 16, 16),
        "buildings": torch.zeros(1, 16, 16, dtype=torch.bool),
        "prompt": torch.full((2, 16, 16), -1.0),
    }
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(20):
        channel = draw_prompt(item, FEATURES, ranges, generator)["prompt"][1]
        seen = channel >= 0.0
        torch.testing.assert_close(channel[seen], (item["gain"][0][seen] + 1) / 2)
        shares.append(float(seen.float().mean()))
    assert 0.09 < min(shares) < 0.2 < 0.4 < max(shares) < 0.51
    assert draw_prompt(item, FEATURES, None, generator) == {}


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, small_stages: ModuleType, small_root: Path
) -> Path:
    """A latent diffusion whose prompt is the transmitter and measurements, after two steps."""
    output = tmp_path_factory.mktemp("measured") / "run"
    experiment = configured(small_stages, small_root, output)
    small_stages.experiments.train_stage(experiment, small_stages.LDMTask, resume=False)
    return output


def configured(small_stages: ModuleType, root: Path, output: Path, **changes: Any) -> Any:
    data = {"root": root, "split": "explicit", "maps": {"train": [1, 2], "val": [3]}}
    values: dict[str, Any] = {
        "train": small_stages.TRAIN | {"steps": 2, "validate_every": 2, "augment": True},
        "data": data | {"prompt_features": FEATURES},
        "measurements": RANGES,
    }
    return small_stages.experiment("ldm", root, output, **values | changes)


def test_a_trained_network_answers_to_its_measurements(run: Path) -> None:
    pipeline = RadioDiffPipeline.from_pretrained(run / "model")
    assert pipeline.takes_measurements
    gain = torch.linspace(-1.0, 1.0, 256).reshape(1, 1, 16, 16)
    masks = [torch.arange(256).reshape(1, 1, 16, 16) % n == 0 for n in (2, 3)]

    def made(mask: torch.Tensor) -> torch.Tensor:
        return pipeline(
            torch.zeros(16, 16, dtype=torch.bool),
            (3, 3),
            num_inference_steps=1,
            generator=torch.Generator().manual_seed(0),
            measurements=measured(gain, mask),
        ).model

    assert torch.equal(made(masks[0]), made(masks[0]))
    assert not torch.equal(made(masks[0]), made(masks[1]))
    with pytest.raises(InputError, match="measurements: none given"):
        pipeline(torch.zeros(16, 16, dtype=torch.bool), (3, 3))


def test_section_and_channel_go_together(
    small_stages: ModuleType, small_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="give both or neither"):
        configured(small_stages, small_root, tmp_path, measurements=None)


def test_tables_and_maps_of_a_tree_are_made_from_measurements(
    run: Path, small_root: Path, tmp_path: Path
) -> None:
    data = {"root": small_root, "split": "all", "prompt_features": FEATURES}
    method = load_method(
        MethodSettings(source=str(run / "model"), num_inference_steps=1, dtype="float32")
    )
    assert method.needs_measurements
    first, second = (
        next(
            iter(
                predict_maps(
                    method,
                    DataConfig.model_validate(data),
                    "test",
                    protocol=MeasurementProtocol(missing_ratio=ratio, noise_std=0.0),
                )
            )
        )
        for ratio in (0.2, 0.8)
    )
    assert not torch.equal(first.gray, second.gray)

    values = {
        "output": tmp_path / "out",
        "model": run / "model",
        "data": data,
        "num_inference_steps": 1,
        "zero_buildings": False,
        "batch_size": 4,
    }
    with pytest.raises(InputError, match=r"measurements\.missing_ratio=0\.9"):
        generate_maps(GenerateConfig.model_validate(values))
    config = GenerateConfig.model_validate(values | {"measurements": PROTOCOL})
    paths = sorted(generate_maps(config).glob("*.png"))
    assert len(paths) == 6
    again = config.model_copy(update={"output": tmp_path / "again", "batch_size": 1})
    for path, other in zip(paths, sorted(generate_maps(again).glob("*.png")), strict=True):
        assert np.abs(levels(path) - levels(other)).max() <= 1  # whatever the batch


def levels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)
