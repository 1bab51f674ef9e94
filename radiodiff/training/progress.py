"""Where a run stands."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

WINDOW = 100
"""Losses the running median is taken of."""
FEWEST = 10
"""Losses before any is judged."""


@dataclass
class Progress:
    """What a resumed run needs to know besides its networks.

    Attributes:
        step: updates done; with the seed it is also the position in the data.
        best: lowest validation score so far.
        losses: of the last :data:`WINDOW` updates.
    """

    step: int = 0
    best: float = float("inf")
    losses: list[float] = field(default_factory=list)

    def exceeds(self, loss: float, factor: float) -> float | None:
        """Add a loss; return the median of those before it if it is ``factor`` times that.

        Losses whose median is not positive (adversarial ones) are not judged.
        """
        median = statistics.median(self.losses) if len(self.losses) >= FEWEST else None
        self.losses = [*self.losses, loss][-WINDOW:]
        return median if median is not None and 0 < median * factor < loss else None

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return {"step": self.step, "best": self.best, "losses": list(self.losses)}
