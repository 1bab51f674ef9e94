"""Radio maps by diffusion: RadioDiff, RadioDiff-Inverse, and the simulator that feeds them.

The public names are imported on first use, so that ``import radiodiff`` loads no torch.
"""

import os
import tempfile
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radiodiff.data.measurements import Measurements
    from radiodiff.data.radiomapseer import RadioMapSeer
    from radiodiff.diffusion.pipeline import RadioDiffPipeline
    from radiodiff.inverse.pipeline import RadioDiffInversePipeline
    from radiodiff.simulate import dominant_path

# Threads that wait for each other by spinning starve when another program wants a core: a training
# step became ten times slower on two cores with one neighbour. Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _find_cache() -> None:
    """Give numba a folder for compiled code where neither the package nor the home is writable."""
    home = os.path.expanduser("~")
    if os.access(os.path.dirname(__file__), os.W_OK) or os.access(home, os.W_OK):
        return
    folder = os.path.join(tempfile.gettempdir(), f"radiodiff-numba-{os.path.basename(home)}")
    os.environ.setdefault("NUMBA_CACHE_DIR", folder)


_find_cache()

__version__ = "0.1.0"

__all__ = [
    "Measurements",
    "RadioDiffInversePipeline",
    "RadioDiffPipeline",
    "RadioMapSeer",
    "dominant_path",
]

_HOMES = {
    "Measurements": "radiodiff.data.measurements:Measurements",
    "RadioDiffInversePipeline": "radiodiff.inverse.pipeline:RadioDiffInversePipeline",
    "RadioDiffPipeline": "radiodiff.diffusion.pipeline:RadioDiffPipeline",
    "RadioMapSeer": "radiodiff.data.radiomapseer:RadioMapSeer",
    "dominant_path": "radiodiff.simulate.dominant_path",
}
"""Public name -> where it is, as ``pkgutil.resolve_name`` reads it."""


def __getattr__(name: str) -> Any:
    """Import a public name on its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = resolve_name(_HOMES[name])
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
