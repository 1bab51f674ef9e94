"""Score a folder of predicted maps, {map}_{transmitter}.png or .npz, against a dataset.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.evaluate`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.evaluate import main

if __name__ == "__main__":
    run_main(main)
