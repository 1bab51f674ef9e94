from collections import Counter

import pytest
import torch
from torch import Tensor

from radiodiff.training.stream import (
    SampleStream,
    StepSampler,
    dihedral,
    make_loader,
    mix_seed,
)


class Maps:
    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, object]:
        image = torch.arange(16.0).reshape(1, 4, 4) + 100 * index
        return {"gain": image, "prompt": -image, "name": f"{index}_0"}


def draw(item: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {"noise": torch.randn(3, generator=generator)}


def stream(count: int = 7, seed: int = 3, augment: bool = True) -> SampleStream:
    return SampleStream(Maps(count), ("gain", "prompt"), draw, seed, augment)


def test_every_epoch_visits_every_map_once_in_its_own_order() -> None:
    samples = stream()
    epochs = [[samples.map_index(7 * e + k) for k in range(7)] for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert epochs[0] != epochs[1]


def test_a_sample_depends_on_its_position_and_the_seed_alone() -> None:
    first, second = stream(), stream()
    second[20]
    for position in (5, 11, 5):
        for key in ("gain", "prompt", "noise"):
            assert torch.equal(first[position][key], second[position][key])
    assert not torch.equal(stream(seed=4)[5]["noise"], first[5]["noise"])


def test_fields_are_augmented_together() -> None:
    samples = stream()
    seen = set()
    for position in range(64):
        sample = samples[position]
        assert torch.equal(sample["gain"], -sample["prompt"])
        seen.add(tuple((sample["gain"] % 100).flatten().tolist()))
    assert len(seen) == 8
    plain = stream(augment=False)[0]["gain"] % 100
    assert torch.equal(plain, torch.arange(16.0).reshape(1, 4, 4))


def test_the_dihedral_elements_are_distinct_isometries() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    images = [dihedral(image, element) for element in range(8)]
    assert torch.equal(images[0], image)
    assert torch.equal(images[4], image.flip(-1))
    assert len({tuple(i.flatten().tolist()) for i in images}) == 8
    assert all(i[1, 1] == 4 for i in images)


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 1), (1, 4), (2, 2), (4, 1)])
def test_the_global_batch_does_not_depend_on_how_it_is_shared(
    processes: int, accumulation: int
) -> None:
    by_step: dict[int, Counter[int]] = {}
    for process in range(processes):
        batches = list(StepSampler(2, 5, 8, accumulation, process, processes))
        assert len(batches) == 3 * accumulation
        for number, batch in enumerate(batches):
            by_step.setdefault(2 + number // accumulation, Counter()).update(batch)
    for step, counts in by_step.items():
        assert counts == Counter(range(8 * step, 8 * step + 8))


def test_workers_change_nothing_and_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    batches = []
    for workers in (0, 2):
        loader = make_loader(stream(), StepSampler(0, 3, 4, 1, 0, 1), workers, pin_memory=False)
        batches.append([batch["noise"] for batch in loader])
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_mixed_seeds_spread() -> None:
    seeds = {mix_seed(seed, position) for seed in range(30) for position in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_windows_are_cut_from_all_fields_alike_and_reach_every_part_of_the_map() -> None:
    samples = SampleStream(Maps(7), ("gain", "prompt"), draw, seed=3, augment=False, window=(2, 3))
    corners = set()
    for position in range(64):
        sample = samples[position]
        image = sample["gain"][0] % 100
        assert torch.equal(sample["gain"], -sample["prompt"])
        row, column = divmod(int(image[0, 0]), 4)
        expected = torch.arange(16.0).reshape(4, 4)[row : row + 2, column : column + 3]
        assert torch.equal(image, expected)
        corners.add((row, column))
    assert corners == {(row, column) for row in range(3) for column in range(2)}
    assert torch.equal(samples[5]["gain"], samples[5]["gain"])
