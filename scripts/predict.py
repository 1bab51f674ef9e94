"""Map the received power of transmitters in your own city, by the dominant path model.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.predict`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.predict import main

if __name__ == "__main__":
    run_main(main)
