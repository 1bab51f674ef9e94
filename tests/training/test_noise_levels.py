"""Which pixels of a training map are measured, known or unknown."""

import pytest
import torch

from radiodiff.inverse.prior import build_noise_schedule
from radiodiff.training.noise_levels import draw_timestep_map

DRAWS = 3000


def test_kinds_of_samples_come_in_their_shares() -> None:
    gain = torch.full((1, 32, 32), -0.2)
    gain[..., :16] = -1.0  # buildings
    generator = torch.Generator().manual_seed(0)
    alphas_cumprod = build_noise_schedule().alphas_cumprod
    unmeasured = known = outdoors = 0
    for _ in range(DRAWS):
        timestep = draw_timestep_map(gain, alphas_cumprod, "uniform", generator)
        assert timestep.shape == gain.shape
        inside, outside = timestep[..., :16], timestep[..., 16:]
        varied = outside.min() < outside.max()
        if (inside == 0).all():
            known += 1
        elif inside.min() == inside.max() and varied:
            outdoors += 1
        elif not varied:
            unmeasured += 1
        if (inside == 0).all() or not varied:
            continue
        # A measured pixel is never noisier than the others.
        assert outside.unique().numel() == 2
    assert known / DRAWS == pytest.approx(0.85 * 0.25, abs=0.03)
    # Where the other pixels are as clean as the measurements, nothing shows.
    assert outdoors / DRAWS == pytest.approx(0.85 * 0.25, abs=0.05)
    assert unmeasured / DRAWS == pytest.approx(0.15, abs=0.05)
