"""Reconstruct radio maps from sparse noisy samples (RadioDiff-Inverse).

With ``--measurements FILE`` the map behind a survey, which is a table of samples; without, a
benchmark on a RadioMapSeer tree. With nothing at all the shipped benchmark, on a few simulated maps
where there is no dataset.
"""

import argparse
from pathlib import Path

from radiodiff.cli import parse_config
from radiodiff.errors import InputError
from radiodiff.experiments.settings import InverseConfig
from radiodiff.experiments.survey_settings import SurveyConfig

DEFAULT_CONFIG = "small/infer_inverse"


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
        reconstruct_known_maps()
    else:
        reconstruct_measured_map(measurements, held_out)


def reconstruct_known_maps() -> None:
    """Run the benchmark, by default the shipped one."""
    config, arguments = parse_config(
        InverseConfig,
        __doc__ or "",
        default_config=DEFAULT_CONFIG,
        add_arguments=add_arguments,
    )
    from radiodiff.experiments.inverse_benchmark import format_summary, run_benchmark
    from radiodiff.experiments.inverse_report import on_simulated_maps, write_report

    asked_for_data = any(key.startswith("data") for key in arguments.overrides)
    shipped = arguments.config == DEFAULT_CONFIG and not asked_for_data
    if shipped and not config.data.root.exists():
        print(
            f"\n{config.data.root} does not exist, so this run simulates a few maps and "
            "reconstructs those; data.root=FOLDER names a dataset",
            flush=True,
        )
        config = on_simulated_maps(config)
    summary = run_benchmark(config)
    write_report(config.output, summary)
    print(format_summary(summary))
    print(f"wrote table.md, maps.png, metrics.csv, summary.json and maps.npz in {config.output}")


def reconstruct_measured_map(measurements: Path, held_out: Path | None) -> None:
    """Reconstruct the map behind a survey."""
    survey, _ = parse_config(SurveyConfig, __doc__ or "", add_arguments=add_arguments)
    from radiodiff.experiments.survey import reconstruct_survey
    from radiodiff.experiments.survey_groups import survey_configs

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
