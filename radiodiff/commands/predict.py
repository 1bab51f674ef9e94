"""Map the received power of transmitters in your own city, by the dominant path model.

A configuration with ``cities`` maps many, on processes or on a Dask cluster.
"""

from __future__ import annotations

import argparse
import json
import sys

from radiodiff.cli import config_has, parse_config
from radiodiff.errors import InputError
from radiodiff.experiments.predict_settings import PredictCitiesConfig, PredictConfig

SHORTCUTS = {
    "--city": "city",
    "--out": "output",
    "--resolution": "resolution_m",
    "--frequency": "frequency_ghz",
    "--power": "transmit_power_dbm",
    "--antenna": "antenna",
    "--coverage": "coverage_dbm",
}


def main() -> None:
    """Read the command line, predict, and say what was found."""
    if config_has("cities"):
        cities, _ = parse_config(PredictCitiesConfig, __doc__ or "")
        from radiodiff.experiments.predict import run_predict_cities

        print(run_predict_cities(cities))
        return
    rest, transmitters = _take_transmitters(sys.argv[1:])
    if transmitters:
        rest.append(f"transmitters={json.dumps(transmitters)}")
    sys.argv[1:] = rest
    config, _ = parse_config(
        PredictConfig,
        __doc__ or "",
        default_config="predict",
        add_arguments=_explain_transmitters,
        shortcuts=SHORTCUTS,
    )
    from radiodiff.experiments.predict import run_predict

    print(run_predict(config))


def _explain_transmitters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tx", metavar="LON,LAT", help="a transmitter in degrees; may be given several times"
    )


def _take_transmitters(words: list[str]) -> tuple[list[str], list[list[float]]]:
    """Take every ``--tx LON,LAT`` out of a command line; argparse would refuse a western one."""
    rest: list[str] = []
    found = []
    queue = iter(words)
    for word in queue:
        name, separator, text = word.partition("=")
        if name != "--tx":
            rest.append(word)
            continue
        place = text if separator else next(queue, "")
        try:
            longitude, latitude = (float(part) for part in place.split(","))
        except ValueError:
            raise InputError(f"--tx {place}: expected LONGITUDE,LATITUDE in degrees") from None
        found.append([longitude, latitude])
    return rest, found
