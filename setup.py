"""Copies configurations and weights into the wheel; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = {"configs": "configs", "data/pretrained": "pretrained"}
"""Folder of the checkout -> its name in ``radiodiff/shipped``."""


class BuildWithShipped(build_py):
    """Adds ``radiodiff/shipped``, unless the package stays in its checkout (``pip install -e``)."""

    def run(self) -> None:
        """Copy the package, then the folders."""
        super().run()
        if self.editable_mode:
            return
        for source, name in SHIPPED.items():
            target = Path(self.build_lib) / "radiodiff" / "shipped" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("lpips"))


setup(cmdclass={"build_py": BuildWithShipped})
