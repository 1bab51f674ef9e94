"""The endless, addressable stream of training samples.

Sample ``n`` of a run, its augmentation and its noise are functions of (seed, n) alone. So a run
can stop anywhere and go on, on any number of processes and workers, and see the same samples: the
data position *is* the step number, and there is no sampler or generator state to keep.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Item = dict[str, Any]
Draw = Callable[[Item, torch.Generator], Item]


class MapDataset(Protocol):
    """What the stream needs of a dataset of maps."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class SampleStream(Dataset[Item]):
    """Samples addressed by their position in the run.

    Each epoch visits every map once, in an order drawn from (seed, epoch).

    Args:
        maps: dataset whose items hold ``fields`` and a ``name``. A field is a tensor (C, H, W), or
            an array (V, C, H, W) of its variants computed beforehand, in the order of
            :func:`dihedral`: eight, or the map as it is alone.
        fields: the tensors a task needs; they are augmented together.
        draw: adds a sample's own random numbers (noise, time) from the generator it is given, so
            that they do not depend on the batch or process the sample lands in.
        seed: seed of the run.
        augment: apply a random element of the dihedral group (flips and quarter turns) to all
            fields alike; maps, or the window, must be square.
        window: (rows, columns) of a random part of the map that is cut out of all fields alike;
            None takes the whole map.
    """

    def __init__(
        self,
        maps: MapDataset,
        fields: tuple[str, ...],
        draw: Draw,
        seed: int,
        augment: bool,
        window: tuple[int, int] | None = None,
    ) -> None:
        self._maps = maps
        self._fields = fields
        self._draw = draw
        self._seed = seed
        self._augment = augment
        self._window = window
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def map_index(self, position: int) -> int:
        """Return which map sample ``position`` shows."""
        epoch, offset = divmod(position, len(self._maps))
        if epoch != self._epoch:
            self._order = np.random.default_rng((self._seed, epoch)).permutation(len(self._maps))
            self._epoch = epoch
        return int(self._order[offset])

    def __getitem__(self, position: int) -> Item:
        item = self._maps[self.map_index(position)]
        generator = torch.Generator().manual_seed(mix_seed(self._seed, position))
        element = int(torch.randint(8, (), generator=generator)) if self._augment else 0
        fields: Item = {field: item[field] for field in self._fields}
        if self._window is not None:
            fields = cut_window(fields, self._window, generator)
        sample: Item = {field: _variant(value, element) for field, value in fields.items()}
        sample.update(self._draw(sample, generator))
        sample["name"] = item["name"]
        return sample


class StepSampler(Sampler[list[int]]):
    """Positions of this process' micro-batches, from ``first_step`` to ``last_step``.

    The global batch of step s is positions [s B, (s + 1) B); process r takes the r-th contiguous
    share of it, in ``accumulation`` micro-batches.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        global_batch: int,
        accumulation: int,
        process: int,
        num_processes: int,
    ) -> None:
        self._steps = range(first_step, last_step)
        self._global_batch = global_batch
        self._accumulation = accumulation
        self._process = process
        self._share = global_batch // num_processes

    def __len__(self) -> int:
        return len(self._steps) * self._accumulation

    def __iter__(self) -> Iterator[list[int]]:
        micro = self._share // self._accumulation
        for step in self._steps:
            first = step * self._global_batch + self._process * self._share
            for start in range(first, first + self._share, micro):
                yield list(range(start, start + micro))


def dihedral(image: Tensor, element: int) -> Tensor:
    """Apply element 0 .. 7 of the dihedral group to the last two axes of ``image`` (..., N, N).

    Elements 0 .. 3 are quarter turns, 4 .. 7 the same after a left-right flip; 0 is the identity.
    """
    if element >= 4:
        image = image.flip(-1)
    return torch.rot90(image, element % 4, dims=(-2, -1))


def cut_window(fields: Item, window: tuple[int, int], generator: torch.Generator) -> Item:
    """Cut the same random part out of images.

    Args:
        fields: images (C, H, W) of one size, by name.
        window: (rows, columns), at most (H, W).
        generator: source of the position.

    Returns:
        The same names with (C, rows, columns).
    """
    height, width = next(iter(fields.values())).shape[-2:]
    rows, columns = window
    top, left = (
        int(torch.randint(side - part + 1, (), generator=generator))
        for side, part in ((height, rows), (width, columns))
    )
    return {
        name: value[..., top : top + rows, left : left + columns] for name, value in fields.items()
    }


def _variant(value: Tensor | np.ndarray, element: int) -> Tensor:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value[element].copy())  # torch cannot wrap what is read-only
    return dihedral(value, element)


def make_loader(
    stream: SampleStream, sampler: StepSampler, num_workers: int, pin_memory: bool
) -> DataLoader[Item]:
    """Return a loader that prefetches the sampler's micro-batches in ``num_workers`` processes."""
    return DataLoader(
        stream,
        batch_sampler=sampler,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_leave_process_group,
        # A worker must not draw its base seed from the global generator: that would move it.
        generator=torch.Generator().manual_seed(0),
    )


def _leave_process_group(worker: int) -> None:
    """Keep Ctrl-C and signals to the whole group, which ask training to stop, from a worker."""
    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def mix_seed(*numbers: int) -> int:
    """Mix whole numbers into 63 well-spread bits, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
