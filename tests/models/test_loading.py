"""What a saved prior must hold to be loaded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule

Weights = dict[str, torch.Tensor]
NAME = "unet.conv_in.bias"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    prior = PatchUNet(32, block_out_channels=(32,), attention=False)
    RadioDiffInversePipeline(prior, build_noise_schedule()).save_pretrained(tmp_path)
    return tmp_path


def nan(weights: Weights) -> None:
    weights[NAME][0] = torch.nan


def without(weights: Weights) -> None:
    del weights[NAME]


def with_more(weights: Weights) -> None:
    weights["head.bias"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan, f"{NAME} holds NaN"),
        (without, f"lacks {NAME}"),
        (with_more, r"has the unknown weight head\.bias"),
    ],
)
def test_weights_that_are_not_the_networks_get_one_line(
    saved: Path, change: Callable[[Weights], None], message: str
) -> None:
    RadioDiffInversePipeline.from_pretrained(saved)
    file = saved / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=message) as error:
        RadioDiffInversePipeline.from_pretrained(saved)
    assert "\n" not in str(error.value)


def test_an_index_of_another_class_or_without_a_key_gets_one_line(saved: Path) -> None:
    with pytest.raises(InputError, match="found a RadioDiffInversePipeline, expected a RadioDiffP"):
        RadioDiffPipeline.from_pretrained(saved)
    index = saved / "model_index.json"
    content = json.loads(index.read_text())
    del content["unet"]
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the key 'unet' is missing"):
        RadioDiffInversePipeline.from_pretrained(saved)
    content["_class_name"] = "RadioDiffPipeline"
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the key 'vae' is missing"):
        RadioDiffPipeline.from_pretrained(saved)
    index.write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        RadioDiffInversePipeline.from_pretrained(saved)
    with pytest.raises(InputError, match="no model_index"):
        RadioDiffInversePipeline.from_pretrained(saved / "unet")
