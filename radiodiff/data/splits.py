"""Which maps train, validate and test: the named splits, none of which overlaps itself.

All literature splits are index ranges of one shuffled list, RadioUNet's: the numbers 0 .. 699
shuffled with ``numpy.random.RandomState(42)``, plus 1. Map ids run 1 .. 700; map 0 is never used.

==========  ===========  ===========  ===========  ==============================================
split       train        val          test         source
==========  ===========  ===========  ===========  ==============================================
radiounet   0 .. 500     501 .. 600   601 .. 699   RadioUNet (Levie et al., 2021)
radiodiff   0 .. 600     (none)       601 .. 699   RadioDiff as released, corrected (see below)
inverse     0 .. 449     450 .. 499   500 .. 699   RadioDiff-Inverse, Sec. V-A: 200 test maps
==========  ===========  ===========  ===========  ==============================================

RadioDiff's released loader trains on 0 .. 600 and tests on 600 .. 699, so index 600 is in both.
Here it belongs to training: the released weights have seen it, and the test maps become exactly
RadioUNet's. RadioDiff-Inverse does not say which 200 maps it tests on; these are the last 200 of
the list. They contain training maps of RadioUNet (index 500) and of RadioDiff (500 .. 600): train a
prior for this test on ``inverse``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, get_args

import numpy as np

from radiodiff.errors import InputError

Part = Literal["train", "val", "test"]
LiteratureSplit = Literal["radiounet", "radiodiff", "inverse"]

PARTS: tuple[Part, ...] = get_args(Part)
SHUFFLE_SEED = 42
SHUFFLED_MAPS = 700

INDEX_RANGES: dict[LiteratureSplit, dict[Part, range]] = {
    "radiounet": {"train": range(0, 501), "val": range(501, 601), "test": range(601, 700)},
    "radiodiff": {"train": range(0, 601), "test": range(601, 700)},
    "inverse": {"train": range(0, 450), "val": range(450, 500), "test": range(500, 700)},
}


@cache
def shuffled_map_ids() -> tuple[int, ...]:
    """Return RadioUNet's list of map ids 1 .. 700, without touching NumPy's global generator."""
    indices = np.arange(SHUFFLED_MAPS)
    # The legacy generator is what numpy.random.seed(42) sets up; the split depends on its stream.
    np.random.RandomState(SHUFFLE_SEED).shuffle(indices)
    return tuple(int(index) + 1 for index in indices)


def literature_maps(split: LiteratureSplit, part: Part) -> tuple[int, ...]:
    """Return the map ids of one part of a published split, in the published order.

    Raises:
        InputError: the split or the part does not exist.
    """
    if split not in INDEX_RANGES:
        raise InputError(f"split {split!r}: not one of {', '.join(INDEX_RANGES)}")
    ranges = INDEX_RANGES[split]
    if part not in ranges:
        raise InputError(
            f"split {split!r} has no part {part!r}, only {', '.join(ranges)}"
            + ("; radiounet has the same test maps and a validation part" * (part == "val"))
        )
    ids = shuffled_map_ids()
    return tuple(ids[index] for index in ranges[part])


def fraction_maps(
    map_ids: Sequence[int], fractions: tuple[float, float, float], part: Part
) -> tuple[int, ...]:
    """Return one part of any collection of maps, split by fractions and always the same way.

    Whole maps are split, so no layout is in two parts. A part with a positive fraction gets at
    least one map.

    Args:
        map_ids: every map of the tree, in any order.
        fractions: of train, val and test; they sum to 1.
        part: the part wanted.

    Raises:
        InputError: there are too few maps for the parts asked for.
    """
    order = sorted(set(map_ids))
    np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    counts = [max(1, round(f * len(order))) if f > 0 else 0 for f in fractions]
    largest = int(np.argmax(fractions))
    counts[largest] += len(order) - sum(counts)
    if counts[largest] < 1:
        raise InputError(
            f"{len(order)} maps cannot be split into fractions {tuple(fractions)} with at least "
            "one map each; simulate more maps or set a fraction to 0"
        )
    start = sum(counts[: PARTS.index(part)])
    return tuple(sorted(order[start : start + counts[PARTS.index(part)]]))
