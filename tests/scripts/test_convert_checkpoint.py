import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDPMPipeline

from radiodiff import interop
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.key_maps import rename, unet_modules
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.models.denoiser import DecoupledUNet

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
    expected = interop.prior_from_guided_diffusion(weights, attention_head_dim=32)
    with torch.no_grad():
        found = unet(arrays["x"], arrays["t"]).sample
        assert torch.equal(found, expected(arrays["x"], arrays["t"]).sample)


def test_radiounet(convert, load_reference, tmp_path):
    weights, _ = load_reference("radiounet_inputs3")
    torch.save(weights, tmp_path / "unet.pt")
    assert convert(tmp_path / "unet.pt", tmp_path / "radiounet", "--format", "radiounet") == 0
    network = RadioUNet.from_pretrained(tmp_path / "radiounet")
    assert torch.equal(network.second.out.bias, weights["Wconv_up000.0.bias"])


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
