"""Say everything that is wrong with a tree of maps, and draw four of them.

The same as the command ``radiodiff check ROOT``; see :mod:`radiodiff.commands.check`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.check import main

if __name__ == "__main__":
    run_main(main)
