"""Maps that are read in threads ahead of what computes with them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError
from radiodiff.experiments.batches import read_ahead

FEATURES = ("buildings", "distance", "detour", "path_loss_model")


@pytest.fixture
def two_threads() -> None:
    """As many readers, whatever this machine has."""
    torch.set_num_threads(2)  # the fixture of all tests puts it back


class Recorded:
    """A dataset that says what was asked of it; item 7 cannot be read."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.asked_for = [threading.Event() for _ in range(20)]

    def __getitem__(self, index: int) -> Any:
        self.asked.append(index)
        self.asked_for[index].set()
        if index == 7:
            raise InputError("map 7 is broken")
        return {"name": str(index)}


@pytest.mark.usefixtures("two_threads")
def test_what_is_read_ahead_is_what_the_dataset_holds(
    make_tree: Callable[..., Path],
) -> None:
    tree = make_tree(maps=(1, 2), transmitters=3)
    batches = [[0, 1], [2, 3], [5], [4, 0]]
    found = list(read_ahead(RadioMapSeer(tree, prompt_features=FEATURES), batches))
    plain = RadioMapSeer(tree, prompt_features=FEATURES)
    assert [len(items) for items in found] == [2, 2, 1, 2]
    for batch, items in zip(batches, found, strict=True):
        for index, item in zip(batch, items, strict=True):
            assert item["name"] == plain.name(index)
            for key in ("prompt", "gain", "buildings", "buildings_png", "transmitter"):
                assert torch.equal(item[key], plain[index][key]), (index, key)  # type: ignore[literal-required]


@pytest.mark.usefixtures("two_threads")
def test_two_batches_are_read_while_one_is_used_and_no_more() -> None:
    dataset = Recorded()
    reading = read_ahead(cast(RadioMapSeer, dataset), [[n] for n in range(7)])
    assert next(reading) == [{"name": "0"}]
    assert dataset.asked_for[2].wait(10.0)
    assert max(dataset.asked) == 2
    assert next(reading) == [{"name": "1"}]
    assert dataset.asked_for[3].wait(10.0)
    reading.close()
    assert max(dataset.asked) == 3


@pytest.mark.usefixtures("two_threads")
def test_a_map_that_cannot_be_read_stops_at_its_batch() -> None:
    reading = read_ahead(cast(RadioMapSeer, Recorded()), [[5, 6], [7, 8], [9]])
    assert len(next(reading)) == 2
    with pytest.raises(InputError, match="map 7 is broken"):
        next(reading)
