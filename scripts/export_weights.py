"""Copy the ``model/`` of a run as float16: half the size, for shipping.

`python scripts/export_weights.py outputs/small/prior/model data/pretrained/prior-small`
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from radiodiff.cli import run_main
from radiodiff.errors import InputError


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
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(model, partial)
        for file in partial.rglob("*.safetensors"):
            weights, mode = load_file(file), file.stat().st_mode
            save_file({k: _half(w) for k, w in weights.items()}, file, metadata={"format": "pt"})
            file.chmod(mode)  # safetensors writes for the owner alone
        for file in partial.rglob("config.json"):
            values = json.loads(file.read_text(encoding="utf-8"))
            values.pop("_name_or_path", None)  # where it was loaded from, on this machine
            file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        partial.replace(output)
    except (SafetensorError, ValueError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"{model}: damaged ({' '.join(str(error).split())})") from None
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"{output}: cannot be written ({error.strerror})") from None
    size = sum(file.stat().st_size for file in output.rglob("*.safetensors"))
    print(f"{output}: {size / 1e6:.1f} MB of weights")


def _half(weights: Tensor) -> Tensor:
    """Halve floating-point weights, unless one is too large for it, as running variances may be."""
    halved = weights.half() if weights.is_floating_point() else weights
    return halved if torch.isfinite(halved).all() else weights


if __name__ == "__main__":
    run_main(main)
