"""Reconstruct radio maps from sparse noisy samples (RadioDiff-Inverse).

The same as the command ``radiodiff``; see :mod:`radiodiff.commands.infer_inverse`.
"""

from radiodiff.cli import run_main
from radiodiff.commands.infer_inverse import main

if __name__ == "__main__":
    run_main(main)
