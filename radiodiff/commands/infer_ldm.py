"""Generate radio maps with a trained RadioDiff model, one PNG per city and transmitter."""

from radiodiff.cli import parse_config
from radiodiff.experiments.settings import GenerateConfig


def main() -> None:
    """Read the configuration and generate."""
    config, _ = parse_config(GenerateConfig, __doc__)
    if config.city is not None:
        from radiodiff.experiments.city_maps import generate_city_maps

        print(f"wrote {generate_city_maps(config)} and gallery.png beside it")
        return
    from radiodiff.experiments.generation import generate_maps

    maps = generate_maps(config)
    print(f"wrote {maps} and gallery.png beside it; score them with scripts/evaluate.py")
