import numpy as np
import pytest

from radiodiff.data.masks import block_mask, pixel_mask
from radiodiff.errors import InputError


@pytest.fixture
def buildings():
    mask = np.zeros((50, 61), dtype=bool)
    mask[5:20, 7:30] = True
    mask[30:45, 40:55] = True
    return mask


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.7, 0.777, 0.95])
def test_pixel_mask_has_the_exact_ratio(buildings, ratio):
    unaware = pixel_mask(buildings.shape, ratio, rng())
    assert unaware.sum() == round((1 - ratio) * buildings.size)
    aware = pixel_mask(buildings.shape, ratio, rng(), buildings)
    assert aware[buildings].all()
    assert (aware & ~buildings).sum() == round((1 - ratio) * (~buildings).sum())


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("ratio", [0.7, 0.8, 0.933])
def test_block_mask_is_made_of_whole_blocks_with_the_exact_ratio(buildings, ratio, aware):
    mask = block_mask(buildings.shape, ratio, rng(), buildings, aware)
    total = (~buildings).sum() if aware else buildings.size
    outdoors = mask & ~buildings
    assert outdoors.sum() == round((1 - ratio) * total)
    assert mask[buildings].all() == aware
    assert mask[buildings].any() == aware
    # On one of the six grids every pixel but one is full or empty.
    partly = []
    for top in range(2):
        for left in range(3):
            part = outdoors[top:, left:]
            part = part[: part.shape[0] // 2 * 2, : part.shape[1] // 3 * 3]
            pixels = part.reshape(part.shape[0] // 2, 2, part.shape[1] // 3, 3).sum(axis=(1, 3))
            if pixels.sum() == outdoors.sum():
                partly.append(((pixels > 0) & (pixels < 6)).sum())
    assert min(partly) <= 1


def test_masks_follow_from_the_generator(buildings):
    one, same, other = (pixel_mask((50, 61), 0.8, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_impossible_ratios_are_refused(buildings):
    with pytest.raises(InputError, match="allowed are 0 <= ratio < 1"):
        pixel_mask((8, 8), 1.0, rng())
    with pytest.raises(InputError, match="leaves no pixel"):
        pixel_mask((8, 8), 0.999, rng())
    with pytest.raises(InputError, match=r"leave at least 0\.\d+ missing"):
        block_mask(buildings.shape, 0.1, rng(), buildings, aware=False)
