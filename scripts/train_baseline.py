"""Train a baseline: RadioUNet, UVM-Net or RME-GAN, with or without measurements.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.train_baseline`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.train_baseline import main

if __name__ == "__main__":
    run_main(main)
