"""Score a folder of predicted maps, {map}_{transmitter}.png or .npz, against a dataset."""

from radiodiff.cli import parse_config
from radiodiff.evaluation.settings import EvaluateConfig

DEFAULT_CONFIG = "small/evaluate"


def main() -> None:
    """Score the predictions, print the table and what was missing or left over."""
    config, _ = parse_config(
        EvaluateConfig,
        __doc__,
        default_config=DEFAULT_CONFIG,
        shortcuts={"--predictions": "predictions", "--data": "data.root"},
    )
    from radiodiff.evaluation.predictions import evaluate_predictions
    from radiodiff.inverse.sensing import shadow_mask

    scores = evaluate_predictions(config, shadow_mask)
    print(f"\n{scores.table(config.method)}")
    print(f"{len(scores.names)} maps scored")
    if scores.missing:
        print(f"{len(scores.missing)} without prediction: {', '.join(scores.missing)}")
    if scores.extra:
        print(f"{len(scores.extra)} files that predict none of the maps: {', '.join(scores.extra)}")
    print(f"wrote {config.output_directory}")
