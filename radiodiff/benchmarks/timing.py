"""How the benchmarks time a call: the fastest of several, alternating with its comparison.

A machine that slows down then slows both alike, and what is quoted is their ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

Result = TypeVar("Result")


def fastest(run: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """Return the seconds of the fastest of ``repeats`` calls after a warm-up, and the result."""
    return fastest_in_turns([run], repeats)[0]


def fastest_in_turns(
    runs: Sequence[Callable[[], Result]], repeats: int
) -> list[tuple[float, Result]]:
    """Call several functions alternately, ``repeats`` times each after a warm-up.

    Returns:
        The seconds of the fastest call of each, and the result of the last.
    """
    results = [run() for run in runs]
    seconds = [float("inf")] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            results[i] = run()
            seconds[i] = min(seconds[i], time.perf_counter() - start)
    return list(zip(seconds, results, strict=True))
