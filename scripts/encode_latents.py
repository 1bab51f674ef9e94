"""Encode the maps of a split once, for stage two to train on.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.encode_latents`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.encode_latents import main

if __name__ == "__main__":
    run_main(main)
