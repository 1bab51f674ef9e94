from pathlib import Path

import pytest
import torch

from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.training.experiments import copy_weights
from radiodiff.training.prompt_channels import match_prompt_channels

STATIC = ("buildings", "transmitter", "vehicles", "distance")
WITH_MODEL = ("transmitter", "path_loss_model", "buildings", "distance")


def denoiser(channels: int) -> DecoupledUNet:
    return DecoupledUNet(
        dim=8,
        dim_mults=(1, 2),
        prompt_channels=channels,
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(8, 8),
    ).eval()


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    vae = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4)
    pipeline = RadioDiffPipeline(vae, denoiser(4), DecoupledScheduler(), STATIC)
    for parameter in pipeline.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    pipeline.save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


@torch.no_grad()
def test_outputs_stay_as_they_were_whatever_the_new_channel_shows(pretrained: Path) -> None:
    before = DecoupledUNet.from_pretrained(pretrained / "denoiser").eval()
    after = denoiser(4)
    copy_weights(pretrained / "denoiser", after, WITH_MODEL)
    generator = torch.Generator().manual_seed(0)
    seen = {name: torch.randn(2, 32, 32, generator=generator) for name in STATIC}
    seen["vehicles"] = seen["buildings"]  # a static map
    z_t, t = torch.randn(2, 3, 16, 16, generator=generator), torch.tensor([0.4, 0.9])
    expected = before(z_t, t, torch.stack([seen[name] for name in STATIC], dim=1))
    for shown in (torch.zeros(2, 32, 32), torch.randn(2, 32, 32, generator=generator)):
        channels = seen | {"path_loss_model": shown}
        found = after(z_t, t, torch.stack([channels[name] for name in WITH_MODEL], dim=1))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_new_channel_learns(pretrained: Path) -> None:
    network = denoiser(4)
    copy_weights(pretrained / "denoiser", network, WITH_MODEL)
    z_t, t, prompt = torch.randn(1, 3, 16, 16), torch.tensor([0.5]), torch.randn(1, 4, 32, 32)
    sum(output.square().mean() for output in network(z_t, t, prompt)).backward()
    gradient = network.pyramid.stem[1].weight.grad
    assert gradient.chunk(4, dim=1)[1].abs().sum() > 0


def test_weights_of_the_same_prompt_are_taken_as_they_are(pretrained: Path) -> None:
    network = denoiser(4)
    copy_weights(pretrained / "denoiser", network, STATIC)
    given = DecoupledUNet.from_pretrained(pretrained / "denoiser").state_dict()
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())


def test_a_feature_that_nothing_stands_for_is_missed(pretrained: Path) -> None:
    weights = DecoupledUNet.from_pretrained(pretrained / "denoiser").state_dict()
    with pytest.raises(InputError, match="prompt feature 'distance' of the weights is missing"):
        match_prompt_channels(weights, STATIC, ("buildings", "transmitter"))
    with pytest.raises(InputError, match="need a convolutional prompt encoder"):
        match_prompt_channels({}, STATIC, WITH_MODEL)
