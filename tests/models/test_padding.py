"""Maps of any size: the mirror image, and its inverse."""

import pytest
import torch

from radiodiff.models.padding import crop, pad_to_multiple, round_up


@pytest.mark.parametrize(("size", "wanted"), [(1, 4), (3, 4), (4, 4), (5, 8), (8, 8)])
def test_sides_become_the_next_multiple(size, wanted):
    assert round_up(size, 4) == wanted
    assert pad_to_multiple(torch.zeros(2, size, 4), 4).shape == (2, wanted, 4)


def test_the_map_is_mirrored_and_comes_back():
    x = torch.arange(15.0).view(1, 3, 5)
    padded = pad_to_multiple(x, 4)
    assert padded[0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded[0, :, 0].tolist() == [0, 5, 10, 5]
    assert torch.equal(crop(padded, x.shape), x)


def test_small_maps_are_mirrored_back_and_forth():
    assert pad_to_multiple(torch.tensor([[1.0, 2.0, 3.0]]), 8)[0].tolist() == [
        1,
        2,
        3,
        2,
        1,
        2,
        3,
        2,
    ]


def test_what_divides_is_not_copied():
    x = torch.zeros(1, 8, 8)
    assert pad_to_multiple(x, 8) is x
