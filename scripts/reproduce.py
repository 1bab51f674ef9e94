"""Tables and figures of both papers: train what is missing, predict, score, write.

A configuration with ``survey_root`` scores methods at held-out samples of measured surveys.
"""

import argparse
from pathlib import Path

import yaml

from radiodiff.cli import parse_config, run_main
from radiodiff.experiments.reproduce.settings import ReproduceConfig


def main() -> None:
    """Read the configuration, compare, and say where the report is."""
    if _is_of_surveys():
        from radiodiff.experiments.survey_table import SurveyTableConfig, write_survey_table

        surveys, _ = parse_config(SurveyTableConfig, __doc__ or "")
        print(f"wrote {write_survey_table(surveys)}")
        return
    config, _ = parse_config(ReproduceConfig, __doc__ or "")
    from radiodiff.experiments.reproduce.run import reproduce

    print(f"wrote {reproduce(config)}")


def _is_of_surveys() -> bool:
    """Tell whether the configuration on the command line is a table of surveys."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", type=Path)
    path = parser.parse_known_args()[0].config
    if path is None or not path.is_file():
        return False  # reported where the configuration is read
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError):
        return False
    return isinstance(content, dict) and "survey_root" in content


if __name__ == "__main__":
    run_main(main)
