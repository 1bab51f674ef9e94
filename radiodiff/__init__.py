"""Radio maps by diffusion: RadioDiff, RadioDiff-Inverse, and the simulator that feeds them."""

import os

# Threads that wait for each other by spinning starve when another program wants a core: a training
# step became ten times slower on two cores with one neighbour. Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
