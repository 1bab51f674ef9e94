"""Train the unconditional DDPM prior of RadioDiff-Inverse.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.train_prior`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.train_prior import main

if __name__ == "__main__":
    run_main(main)
