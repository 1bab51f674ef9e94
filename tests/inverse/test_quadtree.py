import pytest
import torch

from radiodiff.inverse.quadtree import DETAIL_VARIANCES, ROOT_VARIANCE, quadtree_estimate


def test_nothing_measured_gives_the_prior():
    y = torch.zeros(1, 1, 8, 8)
    estimate, variance = quadtree_estimate(y, torch.zeros_like(y))
    assert (estimate == 0).all()
    torch.testing.assert_close(
        variance, torch.full_like(y, ROOT_VARIANCE + sum(DETAIL_VARIANCES[:3]))
    )


def test_exact_pixels_are_kept_and_others_lie_between_them():
    generator = torch.Generator().manual_seed(0)
    y = torch.rand((2, 1, 32, 32), generator=generator) * 2 - 1
    seen = torch.rand(y.shape, generator=generator) < 0.3
    estimate, variance = quadtree_estimate(torch.where(seen, y, 0.0), torch.where(seen, 1e8, 0.0))
    torch.testing.assert_close(estimate[seen], y[seen], atol=1e-4, rtol=0)
    assert variance[seen].max() < 2e-8
    assert estimate.abs().max() <= 1.0
    assert variance[~seen].min() > DETAIL_VARIANCES[0]


def test_a_single_scale_is_the_bayesian_mean_of_a_block():
    """One 2 x 2 block: mean N(0, v), pixels mean + N(0, d); one pixel measured with error s2."""
    s2, d, v = 0.04, DETAIL_VARIANCES[0], ROOT_VARIANCE
    y = torch.tensor([[[[0.7, 0.0], [0.0, 0.0]]]])
    precision = torch.tensor([[[[1 / s2, 0.0], [0.0, 0.0]]]])
    estimate, _ = quadtree_estimate(y, precision)
    assert estimate[0, 0, 1, 1].item() == pytest.approx(0.7 * v / (v + d + s2), rel=1e-5)


def test_the_stated_variance_holds_on_maps_of_the_model():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((256, 1, 1, 1), generator=generator) * ROOT_VARIANCE**0.5
    for detail in reversed(DETAIL_VARIANCES[:5]):
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = x + detail**0.5 * torch.randn(x.shape, generator=generator)
    seen = torch.rand(x.shape, generator=generator) < 0.2
    y = x + 0.05 * torch.randn(x.shape, generator=generator)
    estimate, variance = quadtree_estimate(y, torch.where(seen, 400.0, 0.0))
    ratio = ((x - estimate).square() / variance).mean().item()
    assert 0.9 < ratio < 1.5  # interpolated means are not quite those of the model's blocks
    assert (x - estimate).square().mean() < 0.3 * x.square().mean()
