"""deepinv runs the inverse pipeline as it runs its own reconstructors."""

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.inverse.samplers import FixedLevel
from radiodiff.units import gray_to_model

deepinv = pytest.importorskip("deepinv")
OPTIONS = {"num_particles": 2, "num_inference_steps": 3, "sampler": FixedLevel()}


@pytest.fixture(scope="module")
def pipeline():
    """An untrained prior, which is the best linear estimate."""
    unet = PatchUNet(32, block_out_channels=(32, 64), level_map=True).eval()
    pipeline = RadioDiffInversePipeline(unet, build_noise_schedule(prediction_type="v_prediction"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def problem():
    """A smooth map, its measurements with a sigma of 0.02 in gray, and the physics."""
    ramp = torch.linspace(0.2, 0.8, 32)
    clean = (ramp[:, None] * ramp)[None, None].repeat(2, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(clean.shape, generator=generator) < 0.5).float()
    physics = deepinv.physics.Inpainting(
        (1, 32, 32), mask=mask, noise_model=deepinv.physics.GaussianNoise(0.02)
    )
    y = mask * (clean + 0.02 * torch.randn(clean.shape, generator=generator))
    return clean, y, physics


def reconstructor(pipeline):
    from radiodiff.inverse.reconstructor import RadioDiffReconstructor

    return RadioDiffReconstructor(pipeline, **OPTIONS)


def test_it_is_the_pipeline_on_gray(pipeline, problem):
    from radiodiff.inverse.reconstructor import as_measurements

    clean, y, physics = problem
    measured = as_measurements(y, physics)
    torch.testing.assert_close(measured.noise_std, torch.full_like(y, 0.04))
    torch.testing.assert_close(measured.values[measured.mask], gray_to_model(y)[measured.mask])
    torch.testing.assert_close(measured.mask, physics.mask == 1)
    found = reconstructor(pipeline)(y, physics, seed=3)
    generator = torch.Generator().manual_seed(3)
    expected = pipeline(measured, generator=generator, **OPTIONS).mean
    torch.testing.assert_close(gray_to_model(found), expected)
    assert (found - clean).square().mean().sqrt() < 0.02


def test_every_pixel_keeps_its_noise_level(pipeline, problem):
    from radiodiff.inverse.reconstructor import as_measurements

    _, y, physics = problem
    sigma = torch.linspace(0.01, 0.2, 32).expand(2, 1, 32, 32)
    physics.noise_model.sigma = sigma
    torch.testing.assert_close(as_measurements(y, physics).noise_std, 2 * sigma)


def test_other_physics_are_refused(pipeline, problem):
    _, y, physics = problem
    with pytest.raises(InputError, match="found Denoising with GaussianNoise"):
        reconstructor(pipeline)(y, deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.1)))
    with pytest.raises(InputError, match=r"y has shape \(2, 3, 32, 32\)"):
        reconstructor(pipeline)(y.expand(2, 3, 32, 32), physics)


def test_the_prior_is_a_denoiser(pipeline, problem):
    from radiodiff.inverse.reconstructor import as_denoiser

    clean = problem[0]
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        estimate = as_denoiser(pipeline)(noisy, 0.1)
    assert (estimate - clean).square().mean() < 0.25 * (noisy - clean).square().mean()


def test_samplers_of_deepinv_take_the_prior(pipeline, problem):
    from radiodiff.inverse.reconstructor import as_denoiser

    clean, y, physics = problem
    y, physics.mask = y[:1], physics.mask[:1]  # DDRM repeats the mask for every map of a batch
    sampler = deepinv.sampling.DDRM(as_denoiser(pipeline), sigmas=[0.5, 0.2, 0.05])
    found = sampler(y, physics, seed=1)
    assert (found - clean[:1]).square().mean().sqrt() < 0.1
