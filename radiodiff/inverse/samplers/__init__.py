"""The samplers of the posterior. A new one is a module here and a line in this file."""

from radiodiff.inverse.samplers.combined import Combined
from radiodiff.inverse.samplers.fixed_level import FixedLevel
from radiodiff.inverse.samplers.noised import CommonNoise, IndependentNoise
from radiodiff.inverse.samplers.published import Candidates, Published

__all__ = [
    "Candidates",
    "Combined",
    "CommonNoise",
    "FixedLevel",
    "IndependentNoise",
    "Published",
]
