import itertools

import numpy as np
import pytest

from radiodiff.data.splits import (
    INDEX_RANGES,
    PARTS,
    fraction_maps,
    literature_maps,
    shuffled_map_ids,
)
from radiodiff.errors import InputError


def test_the_shuffle_is_that_of_numpy_random_seed_42():
    # The published loaders seed the global generator; the comparison needs just that.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(42)  # noqa: NPY002
    expected = np.arange(700)
    np.random.shuffle(expected)  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002
    assert shuffled_map_ids() == tuple(expected + 1)


def test_splits_leave_the_global_generator_alone():
    shuffled_map_ids.cache_clear()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    literature_maps("radiounet", "train")
    fraction_maps(range(20), (0.5, 0.25, 0.25), "train")
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("split", INDEX_RANGES)
def test_parts_of_a_published_split_do_not_overlap(split):
    parts = {part: set(literature_maps(split, part)) for part in INDEX_RANGES[split]}
    for one, other in itertools.combinations(parts.values(), 2):
        assert not one & other
    assert set.union(*parts.values()) == set(range(1, 701))
    assert sum(len(part) for part in parts.values()) == 700


def test_published_sizes():
    sizes = {
        split: {part: len(literature_maps(split, part)) for part in INDEX_RANGES[split]}
        for split in INDEX_RANGES
    }
    assert sizes == {
        "radiounet": {"train": 501, "val": 100, "test": 99},
        "radiodiff": {"train": 601, "test": 99},
        "inverse": {"train": 450, "val": 50, "test": 200},
    }


def test_radiodiff_index_600_is_for_training_and_both_papers_share_the_test_maps():
    assert shuffled_map_ids()[600] in literature_maps("radiodiff", "train")
    assert literature_maps("radiodiff", "test") == literature_maps("radiounet", "test")


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="'radiodiff' has no part 'val', only train, test"):
        literature_maps("radiodiff", "val")
    with pytest.raises(InputError, match="not one of radiounet"):
        literature_maps("radionet", "test")


@pytest.mark.parametrize("count", [3, 4, 10, 24, 701])
@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.1, 0.1, 0.8)])
def test_fractions_divide_the_maps_without_overlap(count, fractions):
    ids = [7 * index for index in range(count)]
    parts = [fraction_maps(ids, fractions, part) for part in PARTS]
    assert sorted(itertools.chain(*parts)) == ids
    for part, fraction in zip(parts, fractions, strict=True):
        assert len(part) >= 1
        assert abs(len(part) - fraction * count) <= 2


def test_fractions_do_not_depend_on_the_order_of_the_maps():
    ids = list(range(50))
    assert fraction_maps(ids[::-1], (0.8, 0.1, 0.1), "val") == fraction_maps(
        ids, (0.8, 0.1, 0.1), "val"
    )


def test_fractions_of_zero_take_no_map_and_too_few_maps_are_refused():
    assert fraction_maps(range(10), (0.5, 0.0, 0.5), "val") == ()
    with pytest.raises(InputError, match="2 maps cannot be split"):
        fraction_maps(range(2), (0.8, 0.1, 0.1), "train")
