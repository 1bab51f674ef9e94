"""Speed and memory of every part of the project; ``scripts/benchmark.py`` runs them."""

from typing import Literal

Size = Literal["small", "paper"]
"""Which configurations a training benchmark takes."""
