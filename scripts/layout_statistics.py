"""Compare the statistics of simulated layouts with a real dataset's.

Prints a table and, with --write, keeps the real layouts' quantiles in the package.
"""

import argparse
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import ks_2samp

from radiodiff.cli import run_main
from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.errors import InputError
from radiodiff.simulate import statistics
from radiodiff.simulate.procedural import procedural_city


def main() -> None:
    """Measure both and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="root of a RadioMapSeer tree")
    parser.add_argument("--layouts", type=int, default=96, help="number of simulated layouts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the quantiles in the package")
    arguments = parser.parse_args()

    maps = RadioMapSeer(arguments.dataset)
    # One map of every layout; layout 0 belongs to no split of RadioMapSeer.
    first = {map_id: index for index, (map_id, _) in reversed(list(enumerate(maps.pairs)))}
    chosen = [index for map_id, index in sorted(first.items()) if map_id != 0]
    if not chosen:
        raise InputError(f"{arguments.dataset}: holds no layout but number 0")
    real = [statistics.layout_statistics(maps.footprint(index).mask) for index in chosen]
    simulated = [
        statistics.layout_statistics(
            procedural_city(np.random.default_rng([arguments.seed, index])).building_mask
        )
        for index in range(arguments.layouts)
    ]
    print(f"{len(real)} real and {len(simulated)} simulated layouts: quartiles, p value of the")
    print("two-sample Kolmogorov-Smirnov test\n")
    print("| statistic | real | simulated | p |")
    print("|---|---|---|---|")
    for name, meaning in statistics.STATISTICS.items():
        columns = [np.array([layout[name] for layout in layouts]) for layouts in (real, simulated)]
        quartiles = [
            " / ".join(f"{q:.3g}" for q in np.quantile(values, (0.25, 0.5, 0.75)))
            for values in columns
        ]
        p = ks_2samp(columns[0], columns[1]).pvalue
        print(f"| {meaning} | {' | '.join(quartiles)} | {p:.2f} |")
    if arguments.write:
        content = {"layouts": len(real), "quantiles": statistics.summarise(real)}
        path = Path(statistics.__file__).with_name("layout_statistics.yaml")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
