"""Show the page in the browser: a city to its map, a survey to its map, and a sensing demo."""

from __future__ import annotations

import argparse
import importlib.util

from radiodiff.errors import InputError


def main() -> None:
    """Serve the page until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    arguments = parser.parse_args()
    missing = [name for name in ("gradio", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the page needs {' and '.join(missing)}; install with pip install 'radiodiff[app]'"
        )
    from radiodiff.app.page import serve

    serve(arguments.host, arguments.port)
