"""What a kept result followed from, as digests: of maps, weights, this package and custom code.

A result is kept under these digests, so one that a changed file would make otherwise is never
found again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import sysconfig
from collections.abc import Callable, Iterable
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
_SHOWS_ALONE = (
    "app/",
    "benchmarks",
    "commands",
    "evaluation",
    "experiments/reproduce",
    "shipped",
    "training",
)
"""Rooms of the package that train, time or print, and of which only ``_COMPUTES`` makes results."""
_COMPUTES = (
    "training/stream.py",
    "evaluation/metrics.py",
    "evaluation/predictions.py",
    "experiments/reproduce/cells.py",
)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal; read again if it was written."""
    stat = path.stat()
    return _digest_content(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 17)
def _digest_content(path: Path, *written: int) -> str:
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
    found: dict[str, Path] = {}
    _follow_imports(name, Path(source), found)
    weights = {
        path
        for folder in {path.parent for path in found.values()}
        for path in folder.iterdir()
        if path.is_file() and path.suffix in WEIGHT_SUFFIXES
    }
    return sorted({*found.values(), *weights})


def _follow_imports(name: str, source: Path, found: dict[str, Path]) -> None:
    """Add a module and the modules it imports, as far as they are not installed, to ``found``."""
    if name in found or source.suffix != ".py":
        return
    found[name] = source.resolve()
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: None if node.level < 2 else 1 - node.level]
            base = [*(above if node.level else []), *filter(None, [node.module])]
            imported = [".".join(base), *(".".join([*base, one.name]) for one in node.names)]
        else:
            continue
        for module in imported:
            parts = module.split(".")
            for length in range(1, len(parts) + 1):  # a package runs before its modules
                name = ".".join(parts[:length])
                file = _local_file(name)
                if file is not None:
                    _follow_imports(name, file, found)


def _local_file(module: str) -> Path | None:
    """Return the file of a module that is neither installed nor of this package, or None."""
    if module.split(".")[0] in {radiodiff.__name__, *sys.stdlib_module_names, ""}:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # a function of a module, say
        return None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    installed = (Path(sysconfig.get_path(key)).resolve() for key in ("purelib", "platlib"))
    file = Path(spec.origin).resolve()
    return None if any(file.is_relative_to(folder) for folder in installed) else file
