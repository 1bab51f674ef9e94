import math

import pytest
import torch

from radiodiff.errors import InputError
from radiodiff.evaluation.intervals import estimate

# Student's 97.5 % quantiles, from tables.
T1, T2 = 12.7062, 4.3027


def test_interval_over_seeds():
    values = torch.tensor([[1.0, 3.0], [2.0, 6.0], [3.0, 3.0]])  # means 2, 4, 3
    found = estimate("nmse", values, ["1_0", "1_1"], "seeds", "maps")
    assert found.mean == pytest.approx(3.0)
    assert found.half_width == pytest.approx(T2 * 1.0 / math.sqrt(3), rel=1e-4)
    assert found.count == 3


def test_interval_over_cities_takes_the_maps_of_a_city_together():
    values = torch.tensor([[1.0, 3.0, 7.0, 5.0]])  # means 2 (city 1) and 6 (city 12)
    found = estimate("nmse", values, ["1_0", "1_1", "12_0", "12_1"], "cities", "maps")
    assert found.mean == pytest.approx(4.0)
    assert found.half_width == pytest.approx(T1 * math.sqrt(8.0) / math.sqrt(2), rel=1e-4)
    assert found.count == 2


def test_one_group_has_no_interval():
    found = estimate("nmse", torch.tensor([[1.0, 3.0]]), ["1_0", "1_1"], "seeds", "maps")
    assert (found.mean, found.half_width, found.count) == (2.0, None, 1)


def test_pooled_means_pool_within_groups_too():
    squared = torch.tensor([[0.01, 0.03], [0.04, 0.04]], dtype=torch.float64)
    found = estimate("rmse", squared.sqrt(), ["1_0", "2_0"], "seeds", "pooled")
    assert found.mean == pytest.approx(math.sqrt(0.03))
    spread = math.sqrt(0.04) - math.sqrt(0.02)
    assert found.half_width == pytest.approx(T1 * spread / 2, rel=1e-4)


def test_pooled_nmse_weighs_maps_by_their_power():
    values, power = torch.tensor([[0.1, 0.4], [0.3, 0.4]]), torch.tensor([[3.0, 1.0], [3.0, 1.0]])
    found = estimate("nmse", values, ["1_0", "2_0"], "seeds", "pooled", power)
    assert found.mean == pytest.approx((0.3 + 0.4 + 0.9 + 0.4) / 8)
    # Means of the seeds: 0.175 and 0.325; Student's 97.5 % quantile for one degree is 12.706.
    assert found.half_width == pytest.approx(12.7062 * 0.075, rel=1e-4)
    with pytest.raises(InputError, match="needs the power"):
        estimate("nmse", values, ["1_0", "2_0"], "cities", "pooled")
