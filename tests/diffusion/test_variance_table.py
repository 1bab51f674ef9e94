"""The table printed in docs/decoupled_diffusion.md is the one its script computes."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_table_in_the_docs_is_current(capsys):
    runpy.run_path(str(ROOT / "studies" / "decoupled_diffusion.py"), run_name="__main__")
    assert capsys.readouterr().out in (ROOT / "docs" / "decoupled_diffusion.md").read_text()
