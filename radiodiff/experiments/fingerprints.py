"""What a kept result followed from, as digests: of maps, weights, this package and custom code.

A result is kept under these digests, so one that a changed file would make otherwise is never
found again.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Callable, Iterable
from modulefinder import ModuleFinder
from pathlib import Path

import radiodiff
from radiodiff.data.radiomapseer import RadioMapSeer

WEIGHT_SUFFIXES = [
    ".bin",
    ".ckpt",
    ".h5",
    ".joblib",
    ".npy",
    ".npz",
    ".onnx",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".safetensors",
]
"""Endings of the files beside custom code that are taken for its weights."""
_PACKAGE = Path(radiodiff.__file__).parent
_SHOWS_ALONE = ("benchmarks", "training", "evaluation", "experiments/reproduce")
"""Rooms of the package that train, time or print, and of which only ``_COMPUTES`` makes results."""
_COMPUTES = (
    "training/stream.py",
    "evaluation/metrics.py",
    "evaluation/predictions.py",
    "experiments/reproduce/cells.py",
)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    content = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            content.update(block)
    return content.hexdigest()


def digest_files(files: Iterable[Path]) -> str:
    """Return a SHA-256 of names and contents, in hexadecimal."""
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.name}\0{digest_file(path)}\0".encode())
    return total.hexdigest()


def digest_folder(folder: Path) -> str:
    """Return a SHA-256 of all files of a folder, in hexadecimal."""
    return digest_files(path for path in folder.rglob("*") if path.is_file())


def digest_of(value: object) -> str:
    """Return a short SHA-256 of what JSON can hold, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_maps(dataset: RadioMapSeer, count: int) -> str:
    """Return a SHA-256 of the files of the first ``count`` maps, in hexadecimal."""
    files = {path for index in range(count) for path in dataset.files(index)}
    total = hashlib.sha256()
    for path in sorted(files):
        name = path.relative_to(dataset.root)
        total.update(f"{name.as_posix()}\0{digest_file(path)}\0".encode())
    return total.hexdigest()


@functools.cache
def digest_code() -> str:
    """Return a SHA-256 of this package's version and of its modules that make results."""
    total = hashlib.sha256(radiodiff.__version__.encode())
    for path in sorted(_PACKAGE.rglob("*")):
        name = path.relative_to(_PACKAGE).as_posix()
        if path.suffix not in (".py", ".yaml"):
            continue
        if name.startswith(_SHOWS_ALONE) and name not in _COMPUTES:
            continue
        total.update(f"{name}\0{digest_file(path)}\0".encode())
    return total.hexdigest()


def custom_files(function: Callable[..., object]) -> list[Path]:
    """Return the files that a custom function is known to follow from.

    These are its module, the modules that this one imports, inside functions too, unless they are
    installed, and the weights (``WEIGHT_SUFFIXES``) in the folders of them all. Files that it opens
    elsewhere cannot be known.

    Args:
        function: a function or a callable object; one of this package has no custom files.
    """
    module = inspect.getmodule(inspect.unwrap(function)) or inspect.getmodule(type(function))
    source = None if module is None else getattr(module, "__file__", None)
    if module is None or source is None:
        return []
    name = module.__name__
    if name == "__main__" or name.split(".")[0] == radiodiff.__name__:
        return []
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "purelib")]
    folders = [folder or "." for folder in sys.path]
    local = [
        folder
        for folder in folders
        if not any(Path(folder).resolve().is_relative_to(place) for place in installed)
        and Path(folder).is_dir()
    ]
    finder = ModuleFinder(path=local, excludes=[radiodiff.__name__])
    finder.import_hook(name)
    imported = (getattr(one, "__file__", None) for one in finder.modules.values())
    found = {Path(file).resolve() for file in (source, *imported) if file is not None}
    weights = {
        path
        for folder in {path.parent for path in found}
        for path in folder.iterdir()
        if path.is_file() and path.suffix in WEIGHT_SUFFIXES
    }
    return sorted(found | weights)
