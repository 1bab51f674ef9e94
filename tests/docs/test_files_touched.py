"""What a new method or sampler touches: the table of its page, the sum there, and CONTRIBUTING."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBERS = {"none": 0, "1": 1, "2": 2, "3": 3, "4": 4}
ROWS = re.findall(
    r"^\| \[[^]]+\]\((docs/how-to/\w+\.md)\) \| (\w+)",
    (ROOT / "CONTRIBUTING.md").read_text(),
    re.MULTILINE,
)
SAMPLER = '''
from typing import Literal

from radiodiff.inverse.sampler import Sampler, register


@register
class Pasted(Sampler):
    """Noise, into which the measurements are pasted."""

    method: Literal["pasted"] = "pasted"
    strength: float = 1.0
'''


def test_all_that_can_be_added_is_listed() -> None:
    pages = {Path(page).stem for page, _ in ROWS}
    wanted = {"prompt_channel", "own_sampler", "path_loss_model", "dataset", "baseline"}
    assert pages == wanted | {"own_method"}


@pytest.mark.parametrize(("page", "count"), ROWS, ids=[Path(page).stem for page, _ in ROWS])
def test_a_page_lists_as_many_files_as_it_says(page: str, count: str) -> None:
    text = (ROOT / page).read_text()
    files = re.findall(r"^\| `((?:radiodiff|tests)/[^`]+)` \|", text, re.MULTILINE)
    assert len(files) == NUMBERS[count] <= 4
    assert re.search(rf"^\*\*Files touched:\*\* {count}\b", text, re.MULTILINE)
    for file in files:
        named = ROOT / file
        assert named.is_file() or ("NAME" in named.name and named.parent.is_dir()), file


def test_a_sampler_is_added_in_the_files_that_its_page_names(tmp_path: Path) -> None:
    """The page's two files, changed in a copy of the package, and nothing else."""
    package = tmp_path / "radiodiff"
    shutil.copytree(ROOT / "radiodiff", package, ignore=shutil.ignore_patterns("__pycache__"))
    folder = package / "inverse" / "samplers"
    (folder / "pasted.py").write_text(SAMPLER)
    with (folder / "__init__.py").open("a") as file:
        file.write("from radiodiff.inverse.samplers.pasted import Pasted\n")
    code = (
        "from radiodiff.config import load_config\n"
        "from radiodiff.experiments.settings import InverseConfig\n"
        f"path = {str(ROOT / 'configs/small/infer_inverse.yaml')!r}\n"
        "print(load_config(path, InverseConfig, ['sampler={method: pasted, strength: 2}']).sampler)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "method='pasted'" in result.stdout
    assert "strength=2.0" in result.stdout
