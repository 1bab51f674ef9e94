"""Nominal against found coverage of the field's intervals, at five levels.

usage: python studies/survey_calibration.py OUT.png [--surveys FOLDER] [--simulated 6]

Held-out samples of the surveys in FOLDER (as ``configs/reproduce/surveys.yaml`` reads them), and
of surveys of maps simulated in a random city each: samples outdoors with a noise of 2.5 dB. Prints
a Markdown table and draws it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import norm

from radiodiff.config import load_config
from radiodiff.data.surveys.samples import read_samples
from radiodiff.evaluation.figures import save_figure
from radiodiff.experiments.survey_table import SurveyTableConfig, find_splits
from radiodiff.inverse.field.model import fit_field
from radiodiff.simulate.dataset import choose_transmitters
from radiodiff.simulate.dominant_path import path_gain
from radiodiff.simulate.procedural import procedural_city

LEVELS = np.array([0.5, 0.7, 0.8, 0.9, 0.95])
"""Probability of the intervals, which are central."""
CONFIG = Path(__file__).parents[1] / "configs" / "reproduce" / "surveys.yaml"
SAMPLES, HELD_OUT = 800, 400
NOISE_DB = 2.5


def found_coverage(
    xy: np.ndarray, values: np.ndarray, queries: np.ndarray, truth: np.ndarray
) -> np.ndarray:
    """Return the share of held-out samples within the interval of each level.

    The field states 90 % intervals and a standard deviation; other levels take the normal
    distribution's width, scaled on either side to what the 90 % interval has.
    """
    found = fit_field(xy, values).predict(queries)
    side = np.where(truth > found.mean, found.q95 - found.mean, found.mean - found.q05)
    away = np.abs(truth - found.mean) / side
    return np.array([np.mean(away <= norm.ppf(0.5 + p / 2) / norm.ppf(0.95)) for p in LEVELS])


def simulated_coverage(seed: int) -> np.ndarray:
    """Survey a simulated map outdoors and return the coverage."""
    rng = np.random.default_rng(seed)
    city = procedural_city(rng)
    row, column = choose_transmitters(city, 1, rng)[0]
    gain_db = path_gain(city, (int(row), int(column)))
    outdoor = np.argwhere(~city.building_mask)
    places = outdoor[rng.choice(len(outdoor), SAMPLES + HELD_OUT, replace=False)]
    values = gain_db[places[:, 0], places[:, 1]] + rng.normal(0.0, NOISE_DB, len(places))
    xy = places[:, ::-1].astype(np.float64)
    return found_coverage(xy[:SAMPLES], values[:SAMPLES], xy[SAMPLES:], values[SAMPLES:])


def survey_coverage(folder: Path) -> dict[str, np.ndarray]:
    """Return survey and split -> coverage."""
    settings = load_config(CONFIG, SurveyTableConfig).survey
    result = {}
    for split in find_splits(folder):
        samples = read_samples(split.train, settings)
        held_out = read_samples(split.held_out, settings, grid=samples.grid)
        result[split.name] = found_coverage(
            samples.xy, samples.values, held_out.xy, held_out.values
        )
    return result


def main() -> None:
    """Read the command line, print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("--surveys", type=Path)
    parser.add_argument("--simulated", type=int, default=6)
    arguments = parser.parse_args()
    groups: dict[str, dict[str, np.ndarray]] = {}
    if arguments.simulated:
        groups["simulated maps"] = {
            f"simulated {seed}": simulated_coverage(seed) for seed in range(arguments.simulated)
        }
    if arguments.surveys is not None:
        groups["measured surveys"] = survey_coverage(arguments.surveys)
    print(f"| samples of | {' | '.join(f'{100 * p:.0f} %' for p in LEVELS)} |")
    print("|---" * (len(LEVELS) + 1) + "|")
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    panel.plot(LEVELS, LEVELS, color="gray", linestyle="dashed", label="nominal")
    for number, (group, rows) in enumerate(groups.items()):
        for name, coverage in {**rows, group: np.mean(list(rows.values()), axis=0)}.items():
            print(f"| {name} | {' | '.join(f'{c:.2f}' for c in coverage)} |", flush=True)
            mean = name == group
            panel.plot(
                LEVELS,
                coverage,
                color=f"C{number}",
                marker="o" if mean else None,
                alpha=1.0 if mean else 0.25,
                label=group if mean else None,
            )
    panel.set_xlabel("nominal probability of the interval")
    panel.set_ylabel("share of held-out samples inside")
    panel.legend()
    save_figure(figure, arguments.picture)


if __name__ == "__main__":
    main()
