"""Stages that tests train."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy_stage.py."""
    path = Path(__file__).with_name("toy_stage.py")
    spec = importlib.util.spec_from_file_location("toy_stage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
