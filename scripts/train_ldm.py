"""Stage two of RadioDiff: train the decoupled latent diffusion.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.train_ldm`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.train_ldm import main

if __name__ == "__main__":
    run_main(main)
