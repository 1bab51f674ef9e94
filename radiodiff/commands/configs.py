"""List the shipped configurations, or copy some of them to change them."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from radiodiff.errors import InputError
from radiodiff.files import replacing
from radiodiff.shipped import config_files, config_names, find_config


def main() -> None:
    """Print the names, each with the first line of its file; or copy what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as small/infer_inverse")
    parser.add_argument(
        "--to", type=Path, default=Path("configs"), help="folder of the copies (default: configs)"
    )
    arguments = parser.parse_args()
    if not arguments.names:
        for name, file in zip(config_names(), config_files(), strict=True):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            print(f"{name:<34} {first.removeprefix('#').strip() if first.startswith('#') else ''}")
        return
    for name in arguments.names:
        print(f"wrote {copy_config(name, arguments.to)}")


def copy_config(name: str, folder: Path) -> Path:
    """Copy a shipped configuration to ``folder/NAME.yaml``.

    Raises:
        InputError: there is no such configuration, or the copy would replace a file.
    """
    if name not in config_names():
        name = name.removeprefix("configs/").removesuffix(".yaml")
    source, target = find_config(f"configs/{name}"), folder / f"{name}.yaml"
    if target.exists():
        raise InputError(f"{target}: exists already; remove it or choose another folder (--to)")
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return target
