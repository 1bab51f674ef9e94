"""Tables and figures of both papers: train what is missing, predict, score, write.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.reproduce`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.reproduce import main

if __name__ == "__main__":
    run_main(main)
