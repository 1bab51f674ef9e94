"""The table printed in docs/explanation/decoupled_diffusion.md is the one its script computes."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "decoupled_diffusion.md"


def test_table_in_the_docs_is_current(capsys):
    runpy.run_path(str(ROOT / "studies" / "decoupled_diffusion.py"), run_name="__main__")
    assert capsys.readouterr().out in PAGE.read_text()
