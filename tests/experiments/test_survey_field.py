import numpy as np
import pytest

from radiodiff.experiments.survey_field import floor_note


def test_many_samples_at_the_smallest_value_are_named():
    values = np.r_[np.full(20, -116.0), np.linspace(-110, -60, 280)]
    (note,) = floor_note(values)
    assert "20 of 300 samples" in note
    assert "-116" in note


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-110, -60, 300),
        np.full(30, -90.0),
        np.r_[np.full(5, -116.0), np.arange(-110, 0)],
    ],
)
def test_other_samples_are_no_floor(values):
    assert floor_note(values) == []
