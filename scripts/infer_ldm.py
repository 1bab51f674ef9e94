"""Generate radio maps with a trained RadioDiff model, one PNG per city and transmitter.

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.infer_ldm`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.infer_ldm import main

if __name__ == "__main__":
    run_main(main)
