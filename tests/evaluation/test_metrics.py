import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from radiodiff.errors import InputError
from radiodiff.evaluation.metrics import (
    average,
    interval_coverage,
    iou,
    nmse,
    psnr,
    rmse,
    ssim,
    transmitter_error_m,
    truth_power,
)

MAP_METRICS = [nmse, rmse, ssim, psnr]


@pytest.fixture(scope="module")
def maps():
    """Three true maps and three predictions, (3, 20, 24) gray in [0, 1]."""
    rng = np.random.default_rng(0)
    truth = rng.random((3, 20, 24)).cumsum(axis=1) / 20
    prediction = np.clip(truth + rng.normal(0.0, [[[0.02]], [[0.1]], [[0.3]]], truth.shape), 0, 1)
    return torch.from_numpy(prediction).float(), torch.from_numpy(truth).float()


@pytest.fixture(scope="module")
def hand():
    """A true map of 4 pixels whose squared errors 0, 0.01, 0.04, 0.04 sum to 0.09."""
    truth = torch.tensor([[0.0, 0.5], [1.0, 0.5]])
    return truth + torch.tensor([[0.0, 0.1], [-0.2, 0.2]]), truth


def test_hand_values(hand):
    assert nmse(*hand).tolist() == pytest.approx([0.09 / 1.5])
    assert rmse(*hand).tolist() == pytest.approx([0.15])
    assert rmse(*hand, unit="model").tolist() == pytest.approx([0.30])
    assert rmse(*hand, unit="db").tolist() == pytest.approx([0.15 * 99.16])
    assert psnr(*hand).tolist() == pytest.approx([20 * math.log10(1 / 0.15)])


def test_conventions_of_psnr(hand):
    prediction, truth = hand[0] / 2, hand[1] / 2
    assert psnr(prediction, truth).item() == pytest.approx(20 * math.log10(1 / 0.075))
    assert psnr(prediction, truth, peak="truth_range").item() == pytest.approx(
        20 * math.log10(0.5 / 0.075)
    )


def test_conventions_of_averaging():
    """Two maps with mean squared errors 0.01 and 0.03: 20 dB and 15.23 dB, RMSE 0.1 and 0.173."""
    squared = torch.tensor([0.01, 0.03], dtype=torch.float64)
    psnrs = -10 * squared.log10()
    assert average("psnr", psnrs) == pytest.approx((20 + 10 * math.log10(1 / 0.03)) / 2)
    assert average("psnr", psnrs, "pooled") == pytest.approx(10 * math.log10(1 / 0.02))
    assert average("rmse", squared.sqrt()) == pytest.approx((0.1 + math.sqrt(0.03)) / 2)
    assert average("rmse", squared.sqrt(), "pooled") == pytest.approx(math.sqrt(0.02))
    for averaging in ("maps", "pooled"):
        assert average("psnr", torch.tensor([20.0, 20.0]), averaging) == pytest.approx(20.0)


def test_pooled_nmse_is_that_of_one_large_map():
    truth, prediction = torch.rand(2, 5, 8, 9, generator=torch.Generator().manual_seed(0))
    truth = truth * torch.linspace(0.1, 1.0, 5)[:, None, None]  # maps of unequal power
    large = nmse(prediction.reshape(40, 9), truth.reshape(40, 9)).item()
    values, power = nmse(prediction, truth), truth_power(truth)
    assert average("nmse", values, "pooled", power) == pytest.approx(large)
    assert average("nmse", values) == pytest.approx(values.mean().item())
    assert large < 0.8 * values.mean()
    with pytest.raises(InputError, match="needs the power"):
        average("nmse", values, "pooled")


def test_only_pixels_that_count_matter(hand):
    prediction, truth = hand
    where = torch.tensor([[True, True], [False, True]])
    assert nmse(prediction, truth, where).item() == pytest.approx(0.05 / 0.5)
    assert rmse(prediction, truth, where=where).item() == pytest.approx(math.sqrt(0.05 / 3))
    assert psnr(prediction, truth, "truth_range", where).item() == pytest.approx(
        10 * math.log10(0.25 / (0.05 / 3))
    )
    wild = torch.where(where, prediction, 1e6)
    assert torch.equal(rmse(wild, truth, where=where), rmse(prediction, truth, where=where))


@pytest.mark.parametrize("metric", MAP_METRICS)
def test_one_value_per_map_each_on_its_own(metric, maps):
    prediction, truth = maps
    values = metric(prediction, truth)
    assert values.shape == (3,)
    assert values.dtype == torch.float64
    for index in range(3):
        single = metric(prediction[index], truth[index])
        assert single.shape == (1,)
        assert single[0] == values[index]


@pytest.mark.parametrize("metric", MAP_METRICS)
def test_more_noise_is_worse_and_equal_maps_are_best(metric, maps):
    prediction, truth = maps
    best = {nmse: 0.0, rmse: 0.0, ssim: 1.0, psnr: math.inf}[metric]
    assert metric(truth, truth).tolist() == pytest.approx([best] * 3)
    values = metric(prediction, truth)
    direction = 1 if metric in (nmse, rmse) else -1
    assert (direction * values.diff() > 0).all()


def test_psnr_and_ssim_equal_scikit_image(maps):
    prediction, truth = maps
    for p, t, peak, uniform, gaussian in zip(
        prediction.double().numpy(),
        truth.double().numpy(),
        psnr(prediction, truth),
        ssim(prediction, truth),
        ssim(prediction, truth, window="gaussian"),
        strict=True,
    ):
        assert peak == pytest.approx(peak_signal_noise_ratio(t, p, data_range=1))
        assert uniform == pytest.approx(structural_similarity(t, p, data_range=1), abs=1e-12)
        assert gaussian == pytest.approx(
            structural_similarity(
                t, p, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            ),
            abs=1e-12,
        )
        assert abs(uniform - gaussian) > 1e-3


def test_ssim_by_hand_on_a_single_window(maps):
    # On 7 x 7 pixels the uniform window fits once, so the index is the formula itself.
    p, t = (m[1, :7, :7].double() for m in maps)
    c1, c2 = 0.01**2, 0.03**2
    covariance = torch.cov(torch.stack([p.flatten(), t.flatten()]))
    expected = (2 * p.mean() * t.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (p.mean() ** 2 + t.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert ssim(p, t).item() == pytest.approx(expected.item(), abs=1e-12)


def test_iou():
    predicted = torch.zeros(3, 4, 4, dtype=torch.bool)
    truth = predicted.clone()
    predicted[0, :2] = True
    truth[0, 1:3] = True
    truth[1, 0, 0] = True
    assert iou(predicted, truth).tolist() == pytest.approx([4 / 12, 0.0, 1.0])
    with pytest.raises(InputError, match=r"masks are bool, found torch.float32"):
        iou(predicted.float(), truth)


def test_transmitter_error_in_metres():
    predicted = torch.tensor([[3.0, 4.0], [1.5, 1.0]])
    truth = torch.tensor([[0, 0], [1, 1]])
    assert transmitter_error_m(predicted, truth).tolist() == [5.0, 0.5]
    assert transmitter_error_m(predicted[0], truth[0], resolution_m=2.0).tolist() == [10.0]
    with pytest.raises(InputError, match=r"expected \(N, 2\) twice"):
        transmitter_error_m(predicted, truth[:1])


def test_coverage_of_a_gaussian_interval_is_its_level():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 200, 200, generator=generator, dtype=torch.float64)
    width = torch.full_like(noise, 1.6449)
    assert interval_coverage(-width, width, noise).tolist() == pytest.approx([0.9, 0.9], abs=0.01)
    positive = interval_coverage(-width, width, noise, noise > 0)
    assert positive.tolist() == pytest.approx([0.9, 0.9], abs=0.01)
    assert interval_coverage(-width, 0 * width, noise, noise > 0).tolist() == [0.0, 0.0]
    assert interval_coverage(noise, noise, noise).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("metric", MAP_METRICS)
def test_impossible_maps_are_refused(metric, maps):
    prediction, truth = maps
    with pytest.raises(InputError, match="differ"):
        metric(prediction, truth[:2])
    with pytest.raises(InputError, match=r"expected \(N, H, W\) or \(H, W\)"):
        metric(prediction[None], truth[None])
    broken = prediction.clone()
    broken[1, 0, 0] = math.nan
    with pytest.raises(InputError, match="predicted map 1 holds NaN"):
        metric(broken, truth)


def test_values_that_do_not_exist_are_refused(maps):
    prediction, truth = maps
    with pytest.raises(InputError, match="true map 2 is 0 everywhere"):
        nmse(prediction, truth * torch.tensor([1.0, 1.0, 0.0])[:, None, None])
    with pytest.raises(InputError, match="no pixel of map 0 counts"):
        rmse(prediction, truth, where=torch.zeros_like(truth, dtype=torch.bool))
    with pytest.raises(InputError, match="smaller than the uniform window of 7 x 7"):
        ssim(prediction[:, :6], truth[:, :6])
