"""Fit the dominant path model to a RadioMapSeer tree, cross-validated by layout.

Writes the constants and their cross-validated errors into the package. The roof constants move by
at most one step per run: repeat until they stay.
"""

import argparse
from pathlib import Path

from radiodiff.cli import run_main
from radiodiff.config import save_config
from radiodiff.simulate.calibration import calibrate
from radiodiff.simulate.path_loss_model import CONSTANTS_FILE


def main() -> None:
    """Calibrate, print the table of held-out errors, write the constants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="a RadioMapSeer tree with gain/DPM")
    parser.add_argument("--folds", type=int, default=4, help="of the cross-validation")
    parser.add_argument("--output", type=Path, default=CONSTANTS_FILE)
    arguments = parser.parse_args()
    constants, held_out = calibrate(
        arguments.dataset, arguments.folds, lambda line: print(line, flush=True)
    )
    print(f"{'map':<8} {'nmse':>8} {'rmse':>8} {'los rmse':>8}   held-out layout, gray")
    for name, error in held_out.items():
        print(f"{name:<8} {error.nmse:8.4f} {error.rmse:8.4f} {error.line_of_sight_rmse:8.4f}")
    validation = constants.cross_validation
    if validation is not None:
        print(
            f"{'mean':<8} {validation.nmse:8.4f} {validation.rmse:8.4f} "
            f"{validation.line_of_sight_rmse:8.4f}"
        )
    save_config(constants, arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    run_main(main)
