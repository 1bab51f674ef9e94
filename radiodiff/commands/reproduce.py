"""Tables and figures of both papers: train what is missing, predict, score, write.

A configuration with ``survey_root`` scores methods at held-out samples of measured surveys.
"""

import argparse
from pathlib import Path

from radiodiff.cli import parse_config
from radiodiff.errors import InputError
from radiodiff.experiments.reproduce.settings import ReproduceConfig
from radiodiff.shipped import find_config
from radiodiff.yaml_text import parse_yaml, read_text


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
    if path is None:
        return False
    try:
        path = find_config(path)
        content = parse_yaml(read_text(path), where=str(path))
    except InputError:
        return False  # reported where the configuration is read
    return isinstance(content, dict) and "survey_root" in content
