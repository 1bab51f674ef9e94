"""See the shipped weights at work on a city that no training saw, and on a survey of it.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.demo`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.demo import main

if __name__ == "__main__":
    run_main(main)
