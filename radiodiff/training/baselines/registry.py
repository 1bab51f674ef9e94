"""The learned baselines by name. A new one is a file like those imported here, and a line."""

from radiodiff.training.baselines import radiounet, rmegan, uvmnet
from radiodiff.training.baselines.common import Baseline

BASELINES: dict[str, Baseline] = {
    "radiounet": radiounet.BASELINE,
    "uvmnet": uvmnet.BASELINE,
    "rmegan": rmegan.BASELINE,
}
"""``name`` of the settings -> baseline."""
