"""Where the shipped configurations and weights are: beside a checkout's package, inside a wheel's.

``setup.py`` copies both folders into the wheel, so that no second copy is kept under version
control.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from radiodiff.errors import InputError

_PACKAGE = Path(__file__).parent
_IN_WHEEL = _PACKAGE / "shipped"
CONFIGS = _IN_WHEEL / "configs" if _IN_WHEEL.is_dir() else _PACKAGE.parent / "configs"
"""The shipped configurations."""
PRETRAINED = _IN_WHEEL / "pretrained" if _IN_WHEEL.is_dir() else _PACKAGE.parent / "data/pretrained"
"""The shipped weights, one folder for each name."""


def config_names() -> list[str]:
    """Return the names of all shipped configurations, such as ``small/infer_inverse``."""
    return [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in config_files()]


def config_files() -> list[Path]:
    """Return the files of all shipped configurations, in the order of :func:`config_names`."""
    files = CONFIGS.rglob("*.yaml")
    return sorted(path for path in files if path.parent.name != "accelerate")


def find_config(name: str | Path) -> Path:
    """Return the file of a configuration that is named by its path or, if shipped, by its name.

    Args:
        name: a file, which comes first, or a shipped name with or without ``configs/`` and
            ``.yaml``: ``small/infer_inverse``.

    Raises:
        InputError: there is neither; similar shipped names are listed.
    """
    path = Path(name)
    try:
        if path.is_file():
            return path
    except OSError:  # a name that is too long for a file
        pass
    short = path.as_posix().removeprefix("configs/").removesuffix(".yaml")
    if short in config_names():
        return CONFIGS / f"{short}.yaml"
    close = difflib.get_close_matches(short, config_names(), n=3)
    hint = f", did you mean {' or '.join(close)}?" if close else " (radiodiff configs lists them)"
    shown = str(name) if str(name).isprintable() else repr(str(name))
    raise InputError(f"{shown:.200}: no such configuration file{hint}")
