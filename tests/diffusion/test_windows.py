"""Maps that are larger than a network's window, generated part by part."""

import numpy as np
import pytest
import torch
from torch import Tensor

from radiodiff.data.prompts import build_prompt
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.diffusion.windows import generate_in_windows
from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae

FEATURES = ("buildings", "transmitter")
WINDOW = 32


@pytest.mark.parametrize("size", [(32, 33), (65, 40), (20, 100), (64, 64)])
def test_every_pixel_is_where_the_prompt_and_the_noise_have_it(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    prompt = torch.from_numpy(rng.normal(size=(1, 2, *size))).float()
    latent = tuple(-(-side // 4) for side in size)
    noise = torch.from_numpy(rng.normal(size=(3, 1, *latent))).float()

    def generate(part: Tensor, own: Tensor) -> Tensor:
        assert max(part.shape[-2:]) <= WINDOW
        assert part.shape[-2:] == tuple(4 * side for side in own.shape[-2:])
        return part[:, :1] + own.repeat_interleave(4, -1).repeat_interleave(4, -2)

    maps = generate_in_windows(generate, prompt, noise, WINDOW, stride=4)
    whole = noise.repeat_interleave(4, -1).repeat_interleave(4, -2)[..., : size[0], : size[1]]
    torch.testing.assert_close(maps, prompt[:, :1] + whole, rtol=0, atol=1e-5)


def test_neighbours_are_blended_without_a_seam() -> None:
    calls = iter(range(100))

    def generate(part: Tensor, own: Tensor) -> Tensor:
        return torch.full((1, 1, *part.shape[-2:]), float(next(calls)))

    size = (WINDOW, 2 * WINDOW)
    noise = torch.zeros(1, 1, *(side // 4 for side in size))
    maps = generate_in_windows(generate, torch.zeros(1, 2, *size), noise, WINDOW, stride=4)
    row = maps[0, 0, 7]
    assert row[0] == 0.0
    assert row[-1] == 2.0  # three windows overlap by a quarter and more
    steps = row.diff()
    assert (steps >= 0.0).all()
    assert steps.max() < 0.25


@pytest.fixture(scope="module")
def pipe() -> RadioDiffPipeline:
    torch.manual_seed(0)
    vae = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4, latent_scale=0.5)
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 2),
        prompt_channels=len(FEATURES),
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(8, 8),
    )
    found = RadioDiffPipeline(vae, denoiser, DecoupledScheduler(), FEATURES, window=WINDOW)
    found.set_progress_bar_config(disable=True)
    return found


def test_a_map_of_one_window_is_what_it_is_without(
    pipe: RadioDiffPipeline, tmp_path: object
) -> None:
    pipe.save_pretrained(tmp_path)
    loaded = RadioDiffPipeline.from_pretrained(tmp_path)
    assert loaded.config.window == WINDOW
    loaded.register_to_config(window=None)
    mask = np.zeros((WINDOW, WINDOW), dtype=bool)
    windowed, whole = (
        one(mask, (3, 4), num_inference_steps=2, generator=torch.Generator().manual_seed(0)).model
        for one in (pipe, loaded)
    )
    torch.testing.assert_close(windowed, whole, rtol=0, atol=1e-4)


def test_the_corner_of_a_large_map_is_that_of_its_first_window(pipe: RadioDiffPipeline) -> None:
    mask = np.zeros((3 * WINDOW, 3 * WINDOW), dtype=bool)
    mask[60:70, 10:30] = True
    noise = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    large = pipe(mask, (3, 4), num_inference_steps=1, latents=noise).model
    prompt = build_prompt(FEATURES, mask, (3, 4))[None, :, :WINDOW, :WINDOW]
    first = pipe._sample(prompt, 1, 1, None, None, noise[..., :16, :16])
    # The overlap of a quarter begins at 24.
    torch.testing.assert_close(large[0, :20, :20], first[0, :20, :20], rtol=0, atol=1e-4)
    assert large.isfinite().all()


def test_a_window_must_fit_the_latents(pipe: RadioDiffPipeline) -> None:
    with pytest.raises(InputError, match="window: found 33, allowed are multiples of 2"):
        RadioDiffPipeline(pipe.vae, pipe.denoiser, pipe.scheduler, FEATURES, window=33)
