import numpy as np
import pytest
import torch

from radiodiff.data.measurements import (
    Measurements,
    combine_points,
    measure,
    merge_measurements,
)
from radiodiff.data.scale import RADIOMAPSEER, Scale
from radiodiff.errors import InputError


def test_noise_has_its_level_and_unobserved_pixels_are_empty():
    gain = torch.linspace(-1, 1, 40_000).view(1, 1, 200, 200)
    mask = torch.zeros_like(gain, dtype=torch.bool)
    mask[..., ::2] = True
    found = measure(gain, mask, 0.05, torch.Generator().manual_seed(0))
    error = (found.values - gain)[mask]
    assert float(error.std()) == pytest.approx(0.05, rel=0.03)
    assert float(error.mean()) == pytest.approx(0.0, abs=0.002)
    assert not found.values[~mask].any()
    assert (found.noise_std == 0.05).all()


def test_known_buildings_are_the_truncation_without_noise():
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0, :] = True
    buildings = torch.zeros_like(mask)
    buildings[..., :2] = True
    measured = measure(torch.zeros(1, 1, 4, 4), mask, 0.1, torch.Generator().manual_seed(0))
    known = measured.with_buildings(buildings)
    assert (known.values[buildings] == -1).all()
    assert not known.noise_std[buildings].any()
    assert torch.equal(known.mask, mask | buildings)
    assert torch.equal(known.values[~buildings], measured.values[~buildings])
    assert (known.noise_std[~buildings] == 0.1).all()
    with pytest.raises(InputError, match="must say theirs"):
        Measurements(measured.values, mask).with_buildings(buildings)


@pytest.mark.parametrize("scale", [RADIOMAPSEER, Scale(min_db=-160, max_db=-40.5)])
def test_quantised_measurements_are_whole_decibels_and_say_so(scale):
    gain = torch.linspace(-0.9, 0.9, 40_000).view(1, 1, 200, 200)
    mask = torch.ones_like(gain, dtype=torch.bool)
    found = measure(gain, mask, 0.01, torch.Generator().manual_seed(0), 1.0, scale)
    decibel = scale.model_to_db(found.values)
    torch.testing.assert_close(decibel, decibel.round(), atol=1e-3, rtol=0)
    assert float((found.values - gain).std()) == pytest.approx(
        float(found.noise_std[0, 0, 0, 0]), rel=0.03
    )


def test_measurements_in_one_cell_are_averaged_by_inverse_variance():
    positions = np.array([[2.3, 3.1], [1.8, 2.9], [0.0, 0.0]])
    found = combine_points(positions, np.array([0.1, 0.4, -0.5]), np.array([0.1, 0.2, 0.3]), (4, 5))
    assert found.values.shape == (1, 1, 4, 5)
    assert int(found.mask.sum()) == 2
    # weights 100 and 25
    assert float(found.values[0, 0, 2, 3]) == pytest.approx((10 + 10) / 125)
    assert float(found.noise_std[0, 0, 2, 3]) == pytest.approx(125**-0.5)
    assert float(found.values[0, 0, 0, 0]) == pytest.approx(-0.5)
    assert float(found.noise_std[0, 0, 0, 0]) == pytest.approx(0.3)


def test_bad_measurements_are_refused():
    with pytest.raises(
        InputError, match=r"1 of 2 measurements lie outside the grid of 4 x 5.*row 4"
    ):
        combine_points(np.array([[0, 0], [4, 1]]), np.zeros(2), 0.1, (4, 5))
    with pytest.raises(InputError, match="not finite"):
        combine_points(np.array([[0, 0]]), np.array([np.nan]), 0.1, (4, 5))
    with pytest.raises(InputError, match="noise level > 0"):
        combine_points(np.array([[0, 0]]), np.zeros(1), 0.0, (4, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(1, 8, 8)}, "allowed is .B, 1, H, W."),
        ({"mask": torch.ones(1, 1, 8, 8)}, "torch.bool"),
        ({"mask": torch.zeros(1, 1, 8, 8, dtype=torch.bool)}, "map 0 .* no observed pixel"),
        ({"values": torch.full((1, 1, 8, 8), torch.nan)}, "not finite"),
        ({"noise_std": torch.full((1, 1, 8, 8), -0.1)}, "noise_std is -0.1"),
        ({"noise_std": torch.zeros(8, 8)}, "noise_std has shape"),
    ],
)
def test_impossible_measurements_are_refused(change, message):
    good = {
        "values": torch.zeros(1, 1, 8, 8),
        "mask": torch.ones(1, 1, 8, 8, dtype=torch.bool),
        "noise_std": torch.full((1, 1, 8, 8), 0.1),
    }
    Measurements(**good)
    with pytest.raises(InputError, match=message):
        Measurements(**{**good, **change})


def test_merging_weighs_by_precision():
    def one(value, sigma, observed):
        shape = (1, 1, 1, 3)
        return Measurements(
            torch.full(shape, value),
            torch.tensor(observed, dtype=torch.bool).view(shape),
            torch.full(shape, sigma),
        )

    merged = merge_measurements(one(0.0, 0.1, [1, 1, 0]), one(1.0, 0.2, [0, 1, 1]))
    assert merged.values.flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert merged.noise_std.flatten().tolist() == pytest.approx([0.1, 0.08**0.5 / 10**0.5, 0.2])
    exact = merge_measurements(one(0.3, 0.0, [1, 1, 1]), one(1.0, 0.2, [1, 1, 1]))
    assert exact.values.flatten().tolist() == pytest.approx([0.3] * 3)
