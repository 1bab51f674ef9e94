import numpy as np
import pytest

from radiodiff.inverse.field.samples import find_passes, merge_positions, merge_rows


def test_rows_are_merged_only_where_they_follow_each_other():
    xy = np.array([[0, 0], [0, 0], [3, 4], [0, 0]], dtype=float)
    rows = merge_rows(xy, np.array([1.0, 3.0, 7.0, 5.0]))
    assert rows.mean.tolist() == [2, 7, 5]
    assert rows.count.tolist() == [2, 1, 1]
    assert rows.scatter == pytest.approx(2)
    assert rows.repeats == 1
    places = merge_positions(xy, np.array([1.0, 3.0, 7.0, 5.0]))
    assert sorted(places.mean.tolist()) == [3, 7]
    assert places.variance == pytest.approx(np.var([1, 3, 7, 5]))
    assert places.spacing == pytest.approx(5)


def test_the_track_counts_rows_and_long_ways():
    xy = np.array([[0, 0], [1, 0], [2, 0], [12, 0]], dtype=float)
    assert merge_rows(xy, np.zeros(4)).track.tolist() == [0, 1, 2, 12]


def test_a_removed_row_belongs_between_its_neighbours():
    x = np.arange(40.0)
    xy = np.r_[np.c_[x, np.zeros(40)], np.c_[x[::-1], np.full(40, 1.5)]]
    kept = np.ones(80, dtype=bool)
    kept[[20, 60]] = False
    runs = merge_rows(xy[kept], np.zeros(78))
    found = find_passes(runs, xy[~kept], width=0.2)
    assert found.weight.sum(axis=1) == pytest.approx([1, 1])
    first = found.track[np.arange(2), found.weight.argmax(axis=1)]
    # Of the way back: 39 rows out, 1.5 across, 20 back.
    assert first == pytest.approx([20, 39 + 1.5 + 20], abs=0.6)
    assert (found.weight.max(axis=1) > 0.5).all()


def test_far_away_the_passes_share_the_probability():
    x = np.arange(40.0)
    runs = merge_rows(np.c_[x, np.zeros(40)], np.zeros(40))
    far = find_passes(runs, np.array([[20.2, 30.0]]), width=0.2)
    assert far.weight.max() < 0.4
