"""Modules of the user's own, named in configurations."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from radiodiff.errors import InputError


def import_here(name: str) -> ModuleType:
    """Import a module that is installed or lies in the current folder, as ``python -m`` would."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def import_modules(names: Iterable[str]) -> None:
    """Import modules that register methods, prompt features and the like.

    Raises:
        InputError: one cannot be imported.
    """
    for name in names:
        try:
            import_here(name)
        except (ImportError, SyntaxError, ValueError) as error:
            raise InputError(f"imports: {name!r} cannot be imported ({error})") from None
