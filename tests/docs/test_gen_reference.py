"""The generated pages cover every script that reads a configuration, and every module."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("griffe")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("gen_reference", ROOT / "docs/gen_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_with_a_configuration_has_a_page(generator):
    scripts = {
        path.stem
        for path in (ROOT / "radiodiff" / "commands").glob("*.py")
        if "parse_config(" in path.read_text()
    }
    pages = generator.configuration_pages()
    assert {Path(page).stem for page in pages} == scripts
    commands = (ROOT / "docs" / "reference" / "commands.md").read_text()
    for script in scripts:
        assert f"](configuration/{script}.md)" in commands


def test_a_page_has_type_default_and_meaning_of_a_key(generator):
    page = generator.configuration_pages()["reference/configuration/infer_inverse.md"]
    fractions = "<code>data.fractions</code> | <code>[float, float, float]</code>"
    assert f"| {fractions} | <code>[0.8, 0.1, 0.1]</code> | Of train, val" in page
    assert "| <code>data.root</code> | <code>path</code> | **required** | The folder" in page
    assert "<code>path &#124; null</code>" in page  # a plain bar would end the column
    assert "## InverseConfig" in page  # both of its configurations
    assert "## SurveyConfig" in page


def test_every_key_has_a_meaning(generator):
    models = [
        model
        for script in (ROOT / "radiodiff" / "commands").glob("*.py")
        for model in generator.configuration_models(script)
    ]
    keys = [key for model in models for key in generator.config_keys(model)]
    assert len(keys) > 500
    assert not sorted({key.path for key in keys if not key.meaning})


def test_every_module_is_on_one_page_of_the_api(generator):
    text = "\n".join(generator.api_pages().values())
    for path in (ROOT / "radiodiff").rglob("*.py"):
        if path.stem != "__init__":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert text.count(f"::: {name}\n") == 1
