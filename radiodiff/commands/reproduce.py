"""Tables and figures of both papers: train what is missing, predict, score, write.

A configuration with ``survey_root`` scores methods at held-out samples of measured surveys.
"""

from radiodiff.cli import config_has, parse_config
from radiodiff.experiments.reproduce.settings import ReproduceConfig


def main() -> None:
    """Read the configuration, compare, and say where the report is."""
    if config_has("survey_root"):
        from radiodiff.experiments.survey_table import SurveyTableConfig, write_survey_table

        surveys, _ = parse_config(SurveyTableConfig, __doc__ or "")
        print(f"wrote {write_survey_table(surveys)}")
        return
    config, _ = parse_config(ReproduceConfig, __doc__ or "")
    from radiodiff.experiments.reproduce.run import reproduce

    print(f"wrote {reproduce(config)}")
