import numpy as np
import pytest

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.simulate.procedural import procedural_city
from radiodiff.simulate.statistics import (
    STATISTICS,
    layout_statistics,
    real_statistics,
    summarise,
)


def test_a_layout_measured_by_hand():
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:20, 10:30] = True  # 10 m x 20 m
    mask[40:45, 10:20] = True  # 5 m x 10 m, 20 m away
    mask[40:45, 50:60] = True  # the same, 30 m away
    measured = layout_statistics(mask)
    assert measured["density"] == pytest.approx(300 / 64**2)
    assert measured["buildings"] == 3
    assert measured["area_median"] == 50
    assert measured["area_largest"] == 200
    assert measured["small_share"] == pytest.approx(2 / 3)
    assert measured["vertices"] == 4
    assert measured["elongation"] == pytest.approx(2.0)
    assert measured["rectangularity"] == pytest.approx(1.0)
    assert measured["alignment"] == pytest.approx(1.0)
    assert measured["gap_median"] == pytest.approx(20.0)
    assert measured["enclosed"] == 0


def test_openness_and_enclosed_courtyards():
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:30, 10:30] = True
    mask[15:25, 15:25] = False
    mask[0, 0] = True
    measured = layout_statistics(mask)
    assert measured["enclosed"] == pytest.approx(100 / 1600)
    assert measured["openness_median"] == pytest.approx(5.0, abs=1.0)


def test_alignment_of_crossed_grids_vanishes():
    mask = np.zeros((64, 64), dtype=bool)
    rows, columns = np.mgrid[:64, :64]
    mask[5:15, 5:15] = True
    mask[abs(rows - 40) + abs(columns - 40) <= 7] = True
    # A square and a diamond with walls of the same total length, 45 degrees apart.
    assert layout_statistics(mask)["alignment"] < 0.1


@pytest.fixture(scope="module")
def simulated():
    return [
        layout_statistics(procedural_city(np.random.default_rng([11, index])).building_mask)
        for index in range(48)
    ]


@pytest.mark.parametrize("name", STATISTICS)
def test_simulated_layouts_match_the_real_ones(simulated, name):
    low, first, _, third, high = real_statistics()[name]
    values = np.array([layout[name] for layout in simulated])
    slack = 0.15 * (third - first) + 1e-3
    assert first - slack <= np.median(values) <= third + slack
    # The layouts differ from each other as real ones do, and few lie outside their range.
    within = (values >= low - slack) & (values <= high + slack)
    assert within.mean() >= 0.7
    spread = np.subtract(*np.quantile(values, (0.75, 0.25)))
    assert 0.3 * (third - first) <= spread <= 2.0 * (third - first) + 1e-3


@pytest.mark.real
def test_kept_quantiles_are_those_of_the_dataset(real_root):
    maps = RadioMapSeer(real_root)
    chosen = [index for index, pair in enumerate(maps.pairs) if 901 <= pair[0] <= 924]
    if [maps.pairs[index] for index in chosen] != [(number, 0) for number in range(901, 925)]:
        pytest.skip("the dataset is not that of the layouts 901 .. 924")
    measured = summarise([layout_statistics(maps.footprint(index).mask) for index in chosen])
    for name, quantiles in real_statistics().items():
        np.testing.assert_allclose(quantiles, measured[name], rtol=1e-6, err_msg=name)
