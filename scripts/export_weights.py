"""Copy the ``model/`` of a run as float16: half the size, for shipping.

`python scripts/export_weights.py outputs/small/prior/model data/pretrained/prior-small`
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from radiodiff.cli import run_main
from radiodiff.errors import InputError
from radiodiff.files import PARTIAL


def main() -> None:
    """Copy the configurations and, as float16, the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="directory that from_pretrained reads")
    parser.add_argument("output", type=Path, help="directory to create")
    arguments = parser.parse_args()
    model, output = arguments.model, arguments.output
    if not (model / "model_index.json").is_file():
        raise InputError(f"{model}: no model there (model_index.json is missing)")
    if output.exists():
        raise InputError(f"{output}: exists already; choose another output directory")
    # The process id keeps two runs apart; a run that is stopped removes its own.
    partial = output.with_name(f"{output.name}.{os.getpid()}{PARTIAL}")
    try:
        shutil.copytree(model, partial)
        for file in partial.rglob("*.safetensors"):
            _halve(file, model)
        for file in partial.rglob("config.json"):
            values = json.loads(file.read_text(encoding="utf-8"))
            values.pop("_name_or_path", None)  # where it was loaded from, on this machine
            file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        partial.replace(output)
    except ValueError as error:
        raise InputError(f"{model}: damaged ({' '.join(str(error).split())})") from None
    except (OSError, SafetensorError) as error:
        if isinstance(error, shutil.Error):  # of copytree: source, destination and reason of each
            error = error.args[0][0][-1]
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{output}: cannot be written ({reason})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(file.stat().st_size for file in output.rglob("*.safetensors"))
    print(f"{output}: {size / 1e6:.1f} MB of weights")


def _halve(file: Path, model: Path) -> None:
    """Write the weights of a file over it as float16; ``model`` is named where it is damaged."""
    try:
        weights, mode = load_file(file), file.stat().st_mode
    except SafetensorError as error:
        raise InputError(f"{model}: damaged ({' '.join(str(error).split())})") from None
    save_file({k: _half(w) for k, w in weights.items()}, file, metadata={"format": "pt"})
    file.chmod(mode)  # safetensors writes for the owner alone


def _half(weights: Tensor) -> Tensor:
    """Halve floating-point weights, unless one is too large for it, as running variances may be."""
    halved = weights.half() if weights.is_floating_point() else weights
    return halved if torch.isfinite(halved).all() else weights


if __name__ == "__main__":
    run_main(main)
