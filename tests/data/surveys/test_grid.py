from pathlib import Path

import numpy as np
import pytest

from radiodiff.data.surveys.grid import Grid, make_grid, pixel_size
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError

PATH = Path("s.csv")


def grid_of(x, y, **settings):
    return make_grid(PATH, x, y, (1.0, 1.0), SurveySettings(**settings), False, None)


def lattice(spacing, side):
    x, y = np.meshgrid(np.arange(side) * spacing, np.arange(side) * spacing)
    return np.stack([x.ravel(), y.ravel()], axis=1)


@pytest.mark.parametrize(("spacing", "size"), [(1, 1), (2, 2), (6, 5), (12, 10), (0.6, 0.5)])
def test_pixels_follow_the_spacing_of_the_samples(spacing, size):
    assert pixel_size(lattice(spacing, 201), 200 * spacing, 200 * spacing) == pytest.approx(size)


def test_pixels_are_fine_enough_to_look_at_and_few_enough_to_compute():
    few = np.array([[0, 0], [900, 0], [500, 700.0]])
    assert pixel_size(few, 900, 700) == 10
    dense = np.random.default_rng(0).uniform(0, 1, (500, 2))
    size = pixel_size(np.concatenate([dense, dense + 9_000]), 9_000, 9_000)
    assert (9_000 / size + 1) ** 2 <= 500_000


def test_repeats_do_not_count_as_spacing():
    places = lattice(5, 101)
    assert pixel_size(np.repeat(places, 3, axis=0), 500, 500) == 5


@pytest.mark.parametrize("along_x", [True, False])
def test_a_track_has_a_margin_on_all_sides(along_x):
    along, across = np.arange(101.0) + 50, np.full(101, 70.0)
    x, y = (along, across) if along_x else (across, along)
    grid, notes = grid_of(x, y, resolution_m=1)
    assert sorted(grid.shape) == [21, 121]
    assert "along a track" in notes[0]
    rows, columns = grid.to_pixels(x, y).T
    assert (rows.min(), columns.min()) == (10, 10)
    assert grid_of(x, y, resolution_m=1, margin_m=3)[0].shape == ((7, 107) if along_x else (107, 7))
    area, notes = grid_of(along, np.linspace(0, 100, 101), resolution_m=1)
    assert area.shape == (101, 101)
    assert not notes


def test_pixels_are_metres_east_and_north():
    grid = Grid((100.0, 50.0), (2.0, -2.0), (3, 4), 2.0, "metres")
    metres = grid.pixel_metres()
    assert metres.shape == (3, 4, 2)
    assert metres[0, 0].tolist() == [0, 0]
    assert metres[2, 3].tolist() == [6, -4]
    x, y = np.array([103.0]), np.array([47.0])
    np.testing.assert_allclose(grid.to_survey(grid.to_pixels(x, y)), [[103, 47]])


def test_impossible_grids_are_refused():
    x, y = np.array([0.0, 50_000.0, 3.0]), np.array([0.0, 9.0, 40_000.0])
    with pytest.raises(InputError, match="check the units"):
        grid_of(x, y, resolution_m=1)
    with pytest.raises(InputError, match="all 3 samples fall into one pixel"):
        grid_of(x / 1e6, y / 1e6, resolution_m=1)
