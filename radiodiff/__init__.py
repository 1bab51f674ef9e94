"""Radio maps by diffusion: RadioDiff, RadioDiff-Inverse, and the simulator that feeds them."""

__version__ = "0.1.0"
