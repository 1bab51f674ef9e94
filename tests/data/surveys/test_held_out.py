import numpy as np
import pytest

from radiodiff.data.surveys.held_out import split_held_out
from radiodiff.errors import InputError


def places(count=400, seed=0):
    return np.random.default_rng(seed).uniform(0, 300, (count, 2))


def test_a_share_is_kept_back_and_the_seed_decides_which():
    xy = places()
    first, again, other = (
        split_held_out(xy, 0.2, None, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.sum() == 80
    assert (first == again).all()
    assert (first != other).any()


def test_squares_are_kept_back_whole():
    xy = places()
    held = split_held_out(xy, 0.3, 60.0, np.random.default_rng(0))
    squares = np.floor((xy - xy.min(axis=0)) / 60).astype(int) @ [100, 1]
    assert not set(squares[held]) & set(squares[~held])
    assert held.mean() == pytest.approx(0.3, abs=0.05)


def test_repeats_of_a_position_stay_together():
    xy = np.repeat(places(50), 4, axis=0)
    held = split_held_out(xy, 0.25, None, np.random.default_rng(0)).reshape(50, 4)
    assert (held.all(axis=1) | ~held.any(axis=1)).all()


def test_too_much_is_not_kept_back():
    with pytest.raises(InputError, match="leaves 1 of 3 samples"):
        split_held_out(places(3), 0.7, None, np.random.default_rng(0))
    with pytest.raises(InputError, match="smaller squares"):
        split_held_out(places(), 0.5, 1e4, np.random.default_rng(0))
