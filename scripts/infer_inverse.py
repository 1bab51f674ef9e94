"""Reconstruct radio maps from sparse noisy samples (RadioDiff-Inverse).

With ``--measurements survey.csv`` the map behind a survey; without, a benchmark on a RadioMapSeer
tree.
"""

import argparse
from pathlib import Path

from radiodiff.cli import parse_config, run_main
from radiodiff.experiments.inverse_benchmark import InverseConfig, format_summary, run_benchmark
from radiodiff.experiments.survey import SurveyConfig, reconstruct_survey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects the survey mode."""
    parser.add_argument("--measurements", type=Path, help="CSV of a survey")


def main() -> None:
    """Reconstruct one map from a survey, or score reconstructions of known maps."""
    mode = argparse.ArgumentParser(add_help=False)
    add_arguments(mode)
    measurements: Path | None = mode.parse_known_args()[0].measurements
    if measurements is None:
        benchmark, _ = parse_config(InverseConfig, __doc__, add_arguments=add_arguments)
        print(format_summary(run_benchmark(benchmark)))
        print(f"wrote {benchmark.output}")
        return
    survey, _ = parse_config(SurveyConfig, __doc__, add_arguments=add_arguments)
    report = reconstruct_survey(measurements, survey)
    row, column = report["transmitter"]["row_column"]
    print(
        f"{report['samples']} samples on {report['shape'][0]} x {report['shape'][1]} cells, "
        f"median standard deviation {report['median_std_db']:.1f} dB, "
        f"transmitter at row {row:.1f}, column {column:.1f}"
    )
    print(f"wrote {survey.output}")


if __name__ == "__main__":
    run_main(main)
