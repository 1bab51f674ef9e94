"""Stage three of RadioDiff: tune the decoder to the latents of the denoiser.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.train_decoder`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.train_decoder import main

if __name__ == "__main__":
    run_main(main)
