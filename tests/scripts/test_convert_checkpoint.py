import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline

from radiodiff.data.prompts import PAPER_PROMPT
from radiodiff.data.radiomapseer import build_dataset
from radiodiff.data.settings import DataConfig
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.experiments.methods import load_method, predict_maps
from radiodiff.experiments.settings import MethodSettings
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.released import prior_from_guided_diffusion, radiounet_from_authors
from radiodiff.models.released.key_maps import rename, unet_modules
from radiodiff.units import model_to_gray

SCRIPT = Path(__file__).parents[2] / "scripts/convert_checkpoint.py"


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the script with some arguments and return its exit status."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return int(exit_info.value.code)

    return run


def test_a_first_stage_with_averaged_weights(convert, load_reference, tmp_path):
    weights, _ = load_reference("radiodiff_vae_ch32")
    averaged = {f"ema_model.{key}": 2 * tensor for key, tensor in weights.items()}
    torch.save({"model": weights, "ema": averaged, "step": 3}, tmp_path / "model.pt")
    for options, factor in (((), 2), (("--raw",), 1)):
        output = tmp_path / f"vae{factor}"
        assert convert(tmp_path / "model.pt", output, "--format", "radiodiff-vae", *options) == 0
        vae = AutoencoderKL.from_pretrained(output)
        assert torch.equal(vae.quant_conv.bias, factor * weights["quant_conv.bias"])


def test_a_second_stage_becomes_a_pipeline(convert, load_reference, tmp_path):
    denoiser = DecoupledUNet(dim=8, prompt_encoder="swin_t")
    modules = unet_modules(4)
    checkpoint = {
        f"model.{rename(key, modules)}": tensor for key, tensor in denoiser.state_dict().items()
    }
    vae, _ = load_reference("radiodiff_vae_ch32")
    checkpoint |= {f"first_stage_model.{key}": tensor for key, tensor in vae.items()}
    checkpoint["scale_factor"] = torch.tensor(0.25)
    torch.save({"model": checkpoint}, tmp_path / "model.pt")
    assert convert(tmp_path / "model.pt", tmp_path / "ldm", "--format", "radiodiff-ldm") == 0
    pipeline = RadioDiffPipeline.from_pretrained(tmp_path / "ldm")
    assert pipeline.vae.config.scaling_factor == 0.25
    assert torch.equal(pipeline.denoiser.stem.weight, denoiser.stem.weight)


def test_a_prior_becomes_a_ddpm_pipeline(convert, load_reference, tmp_path):
    weights, arrays = load_reference("adm_unet_64_ch32")
    torch.save(weights, tmp_path / "adm.pt")
    options = ("--format", "guided-diffusion", "--attention-head-dim", 32)
    assert convert(tmp_path / "adm.pt", tmp_path / "prior", *options) == 0
    unet = DDPMPipeline.from_pretrained(tmp_path / "prior").unet
    expected = prior_from_guided_diffusion(weights, attention_head_dim=32)
    with torch.no_grad():
        found = unet(arrays["x"], arrays["t"]).sample
        assert torch.equal(found, expected(arrays["x"], arrays["t"]).sample)


def test_radiounet_becomes_a_method(convert, load_reference, write_radio_maps, tmp_path):
    weights, _ = load_reference("radiounet_inputs3")
    torch.save(weights, tmp_path / "unet.pt")
    root = write_radio_maps(tmp_path / "maps", maps=(1,), transmitters=1, shape=(64, 64))
    data = DataConfig(root=root, split="all", simulation="carsDPM")
    network = radiounet_from_authors(weights).eval()
    for name, options, features in (
        ("scene", (), PAPER_PROMPT),
        ("other", ("--prompt-features", "vehicles", "transmitter", "distance"), None),
    ):
        output = tmp_path / name
        assert convert(tmp_path / "unet.pt", output, "--format", "radiounet", *options) == 0
        method = load_method(MethodSettings(source=str(output)))
        assert method.prompt_features == (features or options[1:])
        assert not method.needs_measurements
        (found,) = predict_maps(method, data, "test")
        prompt = build_dataset(
            data.model_copy(update={"prompt_features": method.prompt_features}), "test"
        )[0]["prompt"]
        with torch.no_grad():
            _, expected = network(model_to_gray(prompt[None]))
        assert torch.allclose(found.gray, expected[0, 0].clamp(0, 1), atol=1e-6)
    sampled = tmp_path / "sampled"
    assert convert(tmp_path / "unet.pt", sampled, "--format", "radiounet", "--measurements") == 0
    method = load_method(MethodSettings(source=str(sampled)))
    assert method.needs_measurements
    assert method.prompt_features == ("buildings", "transmitter")


def test_bad_input_leaves_nothing_behind(convert, load_reference, tmp_path, capsys):
    weights, _ = load_reference("radiounet_inputs3")
    torch.save(weights, tmp_path / "unet.pt")
    output = tmp_path / "output"
    assert convert(tmp_path / "none.pt", output, "--format", "radiounet") == 2
    assert "none.pt: no such checkpoint" in capsys.readouterr().err
    assert convert(tmp_path / "unet.pt", output, "--format", "radiodiff-vae") == 2
    assert capsys.readouterr().err.startswith("error: RadioDiff VAE: missing: ")
    assert not output.exists()
    output.mkdir()
    assert convert(tmp_path / "unet.pt", output, "--format", "radiounet") == 2
    assert "exists already" in capsys.readouterr().err
    assert list(output.iterdir()) == []
