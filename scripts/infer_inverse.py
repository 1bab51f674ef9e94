"""Reconstruct radio maps from sparse noisy samples (RadioDiff-Inverse).

With ``--measurements FILE`` the map behind a survey, which is a table of samples; without, a
benchmark on a RadioMapSeer tree.
"""

import argparse
from pathlib import Path

from radiodiff.cli import parse_config, run_main
from radiodiff.errors import InputError
from radiodiff.experiments.inverse_benchmark import InverseConfig, format_summary, run_benchmark
from radiodiff.experiments.survey import SurveyConfig, reconstruct_survey
from radiodiff.experiments.survey_groups import survey_configs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the survey mode."""
    parser.add_argument("--measurements", type=Path, help="table of samples (CSV, JSON, XLSX, ...)")
    parser.add_argument(
        "--held-out", type=Path, help="table of samples that score the map of --measurements"
    )


def main() -> None:
    """Reconstruct one map from a survey, or score reconstructions of known maps."""
    mode = argparse.ArgumentParser(add_help=False)
    add_arguments(mode)
    chosen = mode.parse_known_args()[0]
    measurements: Path | None = chosen.measurements
    held_out: Path | None = chosen.held_out
    if measurements is None:
        if held_out is not None:
            raise InputError("--held-out goes with --measurements")
        benchmark, _ = parse_config(InverseConfig, __doc__, add_arguments=add_arguments)
        print(format_summary(run_benchmark(benchmark)))
        print(f"wrote {benchmark.output}")
        return
    survey, _ = parse_config(SurveyConfig, __doc__, add_arguments=add_arguments)
    configs = survey_configs(measurements, survey)
    for config in configs:
        try:
            report = reconstruct_survey(measurements, config, held_out)
        except InputError as error:
            if len(configs) == 1:
                raise
            print(f"note: no map in {config.output}: {error}", flush=True)
            continue
        place = report["transmitter"]
        at = (
            "not found"
            if place is None
            else "at row {:.1f}, column {:.1f}".format(*place["row_column"])
        )
        print(
            f"{report['samples']} samples on {report['shape'][0]} x {report['shape'][1]} pixels, "
            f"median standard deviation {report['median_std_db']:.1f} dB, transmitter {at}"
        )
        if "held_out" in report:
            score = report["held_out"]
            print(
                f"{score['samples']} held-out samples: RMSE {score['rmse_db']:.2f} dB, 90 % "
                f"intervals hold {100 * score['coverage90']:.0f} %"
            )
        print(f"wrote {config.output}")


if __name__ == "__main__":
    run_main(main)
