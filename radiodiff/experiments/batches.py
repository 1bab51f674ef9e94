"""What a method is shown of some maps: prompt, measurements, known buildings, and nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from radiodiff.data.measurements import Measurements, observe_map, stack_measurements
from radiodiff.data.prompts import FACTS, Fact, withheld_features
from radiodiff.data.radiomapseer import RadioMapSeer, Sample
from radiodiff.data.settings import MeasurementProtocol
from radiodiff.errors import InputError
from radiodiff.training.stream import mix_seed

BATCHES_AHEAD = 2
"""Batches that are read while one is computed with."""


class WithheldError(InputError):
    """A method asked for what the scenario does not show."""


@dataclass(frozen=True)
class MapBatch:
    """What methods are shown of N maps."""

    names: tuple[str, ...]
    """Such as "12_7", map and transmitter."""
    seeds: tuple[int, ...]
    """One for each map. All randomness of a method comes from it, so that a map does not depend on
    the batch it is in."""
    shape: tuple[int, int]
    """Rows and columns of the maps."""
    measurements: Measurements | None
    """Of the N maps; None where none are made."""
    buildings: Tensor | None
    """(N, 1, H, W) bool; None where the buildings are unknown."""
    channels: Tensor | None
    """(N, C, H, W) in [-1, 1], the prompt; None where one of its channels is withheld."""
    withheld: tuple[str, ...] = ()
    """Channels that the method asked for and that follow from what is unknown."""

    @property
    def prompt(self) -> Tensor:
        """(N, C, H, W) in [-1, 1], the channels that the method asked for, in order.

        Raises:
            WithheldError: one of them follows from what is unknown here.
        """
        if self.channels is None:
            raise WithheldError(
                f"the method asks for the prompt channels {', '.join(self.withheld)}, which follow "
                "from what is unknown here; shape, measurements and seeds of a batch need no prompt"
            )
        return self.channels


def known_facts(protocol: MeasurementProtocol | None) -> tuple[Fact, ...]:
    """Return what is known of a scene unless something else is said.

    Without measurements all is known. With them the transmitter is, and buildings and vehicles are
    if the protocol is aware of buildings.
    """
    return FACTS if protocol is None or protocol.aware else ("transmitter",)


def make_batch(
    dataset: RadioMapSeer,
    indices: Sequence[int],
    seed: int,
    protocol: MeasurementProtocol | None = None,
    known: Sequence[Fact] | None = None,
) -> tuple[MapBatch, list[Sample]]:
    """Read some maps of a dataset and measure them.

    Args:
        dataset: the maps; its prompt features are the channels that the method asks for.
        indices: which maps.
        seed: with a map's id and transmitter it gives the one seed that the map's mask, noise and
            samples follow from, whatever the batch.
        protocol: how the maps are measured; None gives no measurements.
        known: what of a scene may be shown; None takes :func:`known_facts`.

    Returns:
        What methods are shown, and the maps themselves.

    Raises:
        InputError: a map cannot be read or measured.
    """
    items = [dataset[index] for index in indices]
    return batch_of(dataset, indices, items, seed, protocol, known), items


def batch_of(
    dataset: RadioMapSeer,
    indices: Sequence[int],
    items: list[Sample],
    seed: int,
    protocol: MeasurementProtocol | None = None,
    known: Sequence[Fact] | None = None,
) -> MapBatch:
    """Measure maps that have been read, and return what methods are shown of them.

    Args:
        dataset: the maps.
        indices: which maps.
        items: what the dataset holds there.
        seed: see :func:`make_batch`, as the next two.
        protocol: how the maps are measured.
        known: what of a scene may be shown.

    Raises:
        InputError: a map cannot be measured.
    """
    known = known_facts(protocol) if known is None else known
    seeds = [mix_seed(seed, *dataset.pairs[index]) for index in indices]
    measurements = None
    if protocol is not None:
        pairs = zip(items, seeds, strict=True)
        observed = [
            observe_map(item["gain"], item["buildings"], protocol, own, dataset.scale)[0]
            for item, own in pairs
        ]
        measurements = stack_measurements(observed)
    withheld = withheld_features(dataset.prompt_features, known, dataset.dynamic)
    return MapBatch(
        names=tuple(item["name"] for item in items),
        seeds=tuple(seeds),
        shape=dataset.shape,
        measurements=measurements,
        buildings=_stack(items, "buildings") if "buildings" in known else None,
        channels=None if withheld else _stack(items, "prompt"),
        withheld=withheld,
    )


def read_ahead(dataset: RadioMapSeer, batches: Sequence[Sequence[int]]) -> Iterator[list[Sample]]:
    """Read batches of maps in threads, the next ones while the caller computes with the last.

    Args:
        dataset: the maps. As many are read at a time as torch has threads.
        batches: indices of the maps of each batch.

    Returns:
        The maps of each batch, the same as ``dataset[index]`` gives one after the other.

    Raises:
        InputError: a map cannot be read.
    """
    ahead: deque[list[Future[Sample]]] = deque()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        try:
            for number in range(len(batches) + BATCHES_AHEAD):
                if number < len(batches):
                    ahead.append([pool.submit(dataset.__getitem__, n) for n in batches[number]])
                if number >= BATCHES_AHEAD:
                    yield [future.result() for future in ahead.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _stack(items: list[Sample], field: str) -> Tensor:
    return torch.stack([item[field] for item in items])  # type: ignore[literal-required]
