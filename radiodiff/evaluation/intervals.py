"""Means over maps and seeds, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from radiodiff.evaluation.metrics import average
from radiodiff.evaluation.settings import Averaging, Interval


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval.

    Attributes:
        mean: over all maps and seeds.
        half_width: of the interval; None where there is but one seed or city.
        count: seeds or cities that the interval is over.
    """

    mean: float
    half_width: float | None
    count: int


def estimate(
    metric: str,
    values: Tensor,
    names: Sequence[str],
    interval: Interval,
    averaging: Averaging,
    power: Tensor | None = None,
) -> Estimate:
    """Average a metric and give Student's 95 % interval of the mean.

    Args:
        metric: its name.
        values: (S, N), seeds and maps.
        names: of the N maps, such as "12_7"; the number before the underscore is the city.
        interval: over the means of the seeds, or of the cities: two maps of one city are not two
            independent samples.
        averaging: as :func:`radiodiff.evaluation.metrics.average`.
        power: (S, N), likewise.

    Raises:
        InputError: a pooled NMSE without ``power``.
    """
    count, cities = values.shape[0], [name.split("_")[0] for name in names]
    keys = range(count) if interval == "seeds" else dict.fromkeys(cities)
    groups = [
        torch.tensor(
            [
                [key == (seed if interval == "seeds" else city) for city in cities]
                for seed in range(count)
            ]
        )
        for key in keys
    ]

    def mean_of(group: Tensor) -> float:
        return average(metric, values[group], averaging, None if power is None else power[group])

    means = torch.tensor([mean_of(group) for group in groups]).double()
    n = len(means)
    half_width = None
    if n > 1:
        half_width = float(student.ppf(0.975, n - 1) * means.std() / math.sqrt(n))
    return Estimate(mean_of(torch.ones_like(values, dtype=torch.bool)), half_width, n)
