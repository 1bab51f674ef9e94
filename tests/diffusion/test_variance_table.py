"""The table printed in docs/decoupled_diffusion.md is the one its script computes."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_table_in_the_docs_is_current(capsys):
    runpy.run_path(str(DOCS / "decoupled_diffusion.py"), run_name="__main__")
    assert capsys.readouterr().out in (DOCS / "decoupled_diffusion.md").read_text()
