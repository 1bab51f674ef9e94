"""Simulate cities and their radio maps as a RadioMapSeer tree.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.simulate`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.simulate import main

if __name__ == "__main__":
    run_main(main)
