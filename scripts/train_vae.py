"""Stage one of RadioDiff: train the KL autoencoder on radio maps.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.train_vae`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.train_vae import main

if __name__ == "__main__":
    run_main(main)
