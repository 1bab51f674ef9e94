"""Say everything that is wrong with a tree of maps, and draw four of them."""

import argparse
import sys
from pathlib import Path

from radiodiff.cli import run_main


def main() -> None:
    """Check the tree, print the report, draw the picture; status 1 says that something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds gain/, png/")
    parser.add_argument(
        "--figure", type=Path, default=Path("check_dataset.png"), metavar="FILE.png"
    )
    arguments = parser.parse_args()
    from radiodiff.data.check_tree import check_tree
    from radiodiff.experiments.check_dataset import draw_maps

    report = check_tree(arguments.root)
    print(report.text())
    if count := draw_maps(arguments.root, report, arguments.figure):
        print(f"drew {count} maps in {arguments.figure}; outlines must fit the gain, and the cross")
        print("must be where the gain is largest")
    if report.problems:
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
