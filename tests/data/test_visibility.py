import numpy as np
import pytest

from radiodiff.data.visibility import line_of_sight


@pytest.fixture
def city():
    rng = np.random.default_rng(1)
    buildings = np.zeros((28, 36), dtype=bool)
    for _ in range(9):
        top, left = rng.integers(0, 24), rng.integers(0, 30)
        buildings[top : top + rng.integers(2, 6), left : left + rng.integers(2, 7)] = True
    buildings[12:15, 16:19] = False
    return buildings


def by_sampling(buildings, start, end):
    """Whether the line, sampled a thousand times per pixel, stays off the buildings."""
    fraction = np.linspace(0.0, 1.0, 1000 * (1 + int(np.abs(np.subtract(end, start)).max())))
    # An irrational shift keeps samples off the pixel borders, where rounding would choose a side.
    row = start[0] + fraction * (end[0] - start[0])
    column = start[1] + fraction * (end[1] - start[1])
    on_border = (np.abs(row % 1 - 0.5) < 1e-9) & (np.abs(column % 1 - 0.5) < 1e-9)
    pixels = buildings[np.rint(row).astype(int), np.rint(column).astype(int)]
    return not pixels[~on_border].any()


def test_an_empty_map_is_seen_whole():
    assert line_of_sight(np.zeros((5, 9), dtype=bool), (0, 8)).all()


def test_hand_drawn_shadow():
    buildings = np.zeros((5, 7), dtype=bool)
    buildings[2, 3] = True
    shadow = ~line_of_sight(buildings, (2, 1)) & ~buildings
    # From (2, 1) the pixel spans slopes within 0.5 / 1.5 at its near side: rows 1.. 3 stay lit
    # until the line to them crosses columns 2.5 .. 3.5 within half a row of the axis.
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1, 1],
            [0, 0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    assert np.array_equal(shadow, expected)


def test_agrees_with_dense_sampling(city):
    transmitter = (13, 17)
    seen = line_of_sight(city, transmitter)
    disagree = [
        tuple(end)
        for end in np.argwhere(~city)
        if seen[tuple(end)] != by_sampling(city, transmitter, end)
    ]
    assert disagree == []


def test_visibility_is_symmetric(city):
    rng = np.random.default_rng(2)
    outdoors = np.argwhere(~city)
    for start, end in zip(rng.choice(outdoors, 60), rng.choice(outdoors, 60), strict=True):
        there = line_of_sight(city, tuple(start))[tuple(end)]
        assert there == line_of_sight(city, tuple(end))[tuple(start)]


def test_buildings_are_not_seen_and_turning_the_map_turns_the_answer(city):
    seen = line_of_sight(city, (13, 17))
    assert not seen[city].any()
    turned = line_of_sight(np.rot90(city), (36 - 1 - 17, 13))
    assert np.array_equal(np.rot90(seen), turned)


@pytest.mark.parametrize(("both", "visible"), [(True, False), (False, True)])
def test_a_diagonal_passes_one_corner_but_not_between_two(both, visible):
    buildings = np.zeros((4, 4), dtype=bool)
    buildings[1, 2] = True
    buildings[2, 1] = both
    assert line_of_sight(buildings, (0, 0))[3, 3] == visible
