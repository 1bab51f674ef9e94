"""lint-imports refuses what CONTRIBUTING.md forbids: circles, and imports against the layers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
ROOT = Path(__file__).parents[1]
COMMAND = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def skeleton(folder: Path) -> Path:
    """A package with the folders and the rules of this one, whose modules are empty."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    for source in (ROOT / "radiodiff").rglob("*.py"):
        copy = folder / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    return folder / "radiodiff"


def test_a_package_without_imports_passes(tmp_path):
    skeleton(tmp_path)
    result = lint(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("errors.py", "radiodiff.config"),  # together with config's own import, a circle
        ("models/vae.py", "radiodiff.training"),  # against the layers
        ("diffusion/losses.py", "radiodiff.inverse"),  # neighbours of one layer
        ("data/points.py", "radiodiff.models"),  # data knows no network
        ("models/denoiser.py", "radiodiff.cli"),  # networks know no files
    ],
)
def test_a_forbidden_import_fails_and_is_named(tmp_path, importer, imported):
    package = skeleton(tmp_path)
    (package / "config.py").write_text("import radiodiff.errors\n")
    assert lint(tmp_path).returncode == 0
    (package / importer).write_text(f"import {imported}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    module = "radiodiff." + importer.removesuffix(".py").replace("/", ".")
    assert f"{module} -> {imported}" in result.stdout


def test_contributing_shows_the_layers_in_their_order():
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (rule["layers"] for rule in rules["contracts"] if rule["type"] == "layers")
    lines = []
    for number, layer in enumerate(layers, 1):
        packages = [name.strip().removeprefix("radiodiff.") for name in layer.split("|")]
        lines.append(f"{number}. " + ", ".join(f"`{package}`" for package in packages))
    assert "\n".join(lines) in text
