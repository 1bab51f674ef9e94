import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from radiodiff.errors import InputError
from radiodiff.inverse.prior import (
    PatchUNet,
    build_noise_schedule,
    load_guided_diffusion,
    make_denoiser,
)
from radiodiff.inverse.quadtree import quadtree_estimate


@pytest.fixture(scope="module")
def tiny():
    return PatchUNet(32, block_out_channels=(32, 64)).eval()


def test_default_prior_has_at_most_twelve_million_parameters():
    with torch.device("meta"):
        prior = PatchUNet()
    assert sum(p.numel() for p in prior.parameters()) <= 12e6


def test_patches_are_rearranged_without_loss():
    """A network that returns its input returns the map unchanged, pixel for pixel."""
    prior = PatchUNet(32, block_out_channels=(32,))
    prior.unet.forward = lambda patches, t: type("Output", (), {"sample": patches})
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior(x, torch.tensor([1.0, 2.0])).sample, x)


def test_saved_prior_predicts_the_same(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    again = PatchUNet.from_pretrained(tmp_path).eval()
    x, t = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    assert torch.equal(again(x, t).sample, tiny(x, t).sample)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"block_out_channels": (40,)}, "40 is not a multiple"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        PatchUNet(**sizes)


@pytest.mark.parametrize("level_map", [False, True])
def test_sides_that_do_not_divide_are_mirrored_and_cropped(level_map):
    sizes = {"block_out_channels": (32, 64), "level_map": level_map}
    torch.manual_seed(0)
    network = PatchUNet(sample_size=(30, 37), **sizes).eval()
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.1)
    x = torch.randn(2, 1, 30, 37)
    t = torch.randint(1000, x.shape) if level_map else torch.tensor([10.0, 700.0])
    extended = [
        torch.nn.functional.pad(image, (0, 3, 0, 2), mode="reflect") if image.ndim > 1 else image
        for image in (x, t.float())
    ]
    with torch.no_grad():
        found = network(x, t).sample
        assert torch.equal(found, network(*extended).sample[..., :30, :37])


def test_levels_between_timesteps_become_fractional_timesteps():
    schedule = build_noise_schedule()
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.config = {}

        def forward(self, x, t):
            seen.extend(t.tolist())
            return torch.zeros_like(x)

    levels = schedule.alphas_cumprod[[0, 400, 401, 999]].double()
    between = (levels[1] + levels[2]) / 2
    denoise = make_denoiser(Spy(), schedule)
    denoise(torch.zeros(5, 1, 8, 8), torch.cat([levels, between[None]]))
    assert seen[:4] == pytest.approx([0, 400, 401, 999], abs=1e-3)
    assert 400.3 < seen[4] < 400.7


class Says(torch.nn.Module):
    """A network that returns what it was given at birth."""

    def __init__(self, output):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config = {}
        self.output = output

    def forward(self, x, t):
        return self.output


def test_an_untrained_prior_of_levels_returns_the_linear_estimate():
    prior = PatchUNet(32, block_out_channels=(32, 64), level_map=True).eval()
    schedule = build_noise_schedule(prediction_type="v_prediction")
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((2, 1, 32, 32), generator=generator) * 2 - 1
    timestep = torch.full(x.shape, 600)
    timestep[torch.rand(x.shape, generator=generator) < 0.4] = 20
    abar = schedule.alphas_cumprod[timestep]
    x_t = abar.sqrt() * x + (1 - abar).sqrt() * torch.randn(x.shape, generator=generator)
    eps = make_denoiser(prior, schedule)(x_t, abar.double())
    expected, _ = quadtree_estimate(x_t / abar.sqrt(), abar / (1 - abar))
    found = (x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_a_level_for_every_pixel_generalises_one_for_the_map(tiny):
    torch.manual_seed(0)
    prior = PatchUNet(32, block_out_channels=(32, 64), level_map=True).eval()
    torch.nn.init.normal_(prior.unet.conv_out.weight, std=0.1)
    x = torch.randn(2, 1, 32, 32)
    t = torch.tensor([20.0, 700.5])
    with torch.no_grad():
        one = prior(x, t).sample
        for_each = t.view(2, 1, 1, 1).repeat(1, 1, 32, 32)
        torch.testing.assert_close(prior(x, for_each).sample, one)
        for_each[..., :16] = 5.0
        assert not torch.allclose(prior(x, for_each).sample, one, atol=1e-3)
    with pytest.raises(InputError, match="takes one noise level for the whole"):
        make_denoiser(tiny, build_noise_schedule())(x, torch.full(x.shape, 0.5))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_prediction_types_agree(prediction):
    """The same estimate of the clean map, said as noise, as velocity and as the map."""
    x, clean = torch.randn(2, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    level = build_noise_schedule().alphas_cumprod[[300, 700]].double()
    signal = level.float().sqrt().view(-1, 1, 1, 1)
    noise = (1 - level.float()).sqrt().view(-1, 1, 1, 1)
    eps = (x - signal * clean) / noise
    said = {"epsilon": eps, "v_prediction": signal * eps - noise * clean, "sample": clean}
    schedule = DDPMScheduler(beta_start=1e-4, beta_end=0.02, prediction_type=prediction)
    found = make_denoiser(Says(said[prediction]), schedule)(x, level)
    torch.testing.assert_close(found, eps, atol=1e-4, rtol=1e-4)


def test_image_network_sees_three_equal_channels_and_its_variance_is_left_aside():
    unet = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
    ).eval()
    schedule = build_noise_schedule()
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = make_denoiser(unet, schedule)(x, schedule.alphas_cumprod[[10, 500]].double())
    with torch.no_grad():
        out = unet(x.expand(-1, 3, -1, -1), torch.tensor([10.0, 500.0])).sample
    torch.testing.assert_close(found, out[:, :3].mean(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_weights_of_guided_diffusion_are_a_prior(load_reference, tmp_path):
    weights, _ = load_reference("adm_unet_64_ch32")
    torch.save(weights, tmp_path / "uncond.pt")
    unet, schedule = load_guided_diffusion(tmp_path / "uncond.pt", attention_head_dim=32)
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    found = make_denoiser(unet, schedule)(x, schedule.alphas_cumprod[[500]].double())
    with torch.no_grad():
        out = unet(x.expand(-1, 3, -1, -1), torch.tensor([500.0])).sample
    torch.testing.assert_close(found, out[:, :3].mean(dim=1, keepdim=True), atol=1e-4, rtol=1e-4)


def test_unfit_networks_are_refused(tiny):
    unet = UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    with pytest.raises(InputError, match="4 input channels; allowed are 1 and 3"):
        make_denoiser(unet, build_noise_schedule())
    with pytest.raises(InputError, match="prediction_type is 'score'"):
        make_denoiser(tiny, DDPMScheduler(prediction_type="score"))


@pytest.mark.parametrize("level_map", [False, True])
def test_a_prior_draws_maps_in_diffusers_own_pipeline(level_map, tmp_path):
    prior = PatchUNet(32, block_out_channels=(32, 64), level_map=level_map)
    schedule = build_noise_schedule(prediction_type="v_prediction" if level_map else "epsilon")
    DDPMPipeline(prior, schedule).save_pretrained(tmp_path)
    pipeline = DDPMPipeline(PatchUNet.from_pretrained(tmp_path / "unet"), schedule)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images = pipeline(2, generator, num_inference_steps=3, output_type="np").images
    assert images.shape == (2, 32, 32, 1)
    assert np.isfinite(images).all()
    x = torch.randn(2, 1, 32, 32)
    as_tuple = prior(x, 7, return_dict=False)
    assert torch.equal(as_tuple[0], prior(x, torch.tensor([7, 7])).sample)
    with pytest.raises(InputError, match="in_channels = 3"):
        PatchUNet(32, block_out_channels=(32, 64), in_channels=3)
