import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.experiments import fingerprints
from radiodiff.experiments.fingerprints import custom_files, digest_code, digest_maps
from radiodiff.experiments.methods import METHODS, load_method
from radiodiff.experiments.settings import MethodSettings

METHOD = """
import numpy
import custom_package.helper as helper
from custom_package.deep import below

def predict(batch):
    from custom_package import late
    return helper.length(batch)
"""


def test_maps_are_known_by_their_files(make_tree: Callable[..., Path]) -> None:
    root = make_tree(simulations=("DPM", "carsDPM"))

    def digest(simulation: str = "DPM", count: int = 6) -> str:
        return digest_maps(RadioMapSeer(root, simulation=simulation), count)  # type: ignore[arg-type]

    before, dynamic, fewer = digest(), digest("carsDPM"), digest(count=3)
    assert digest() == before
    assert len({before, dynamic, fewer}) == 3
    # The first three maps are those of the tree's first city.
    for name in ("png/buildings_complete/7.png", "png/antennas/7_1.png", "gain/DPM/7_2.png"):
        path = root / name
        content, last = path.read_bytes(), digest()
        path.write_bytes(content + b" ")
        assert digest() != last, name
        assert digest(count=3) == fewer, name
        path.write_bytes(content)
    (root / "png/cars/7.png").write_bytes(b"")
    assert digest() == before
    assert digest("carsDPM") != dynamic


def test_the_code_that_computes_counts_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(changed: str) -> str:
        original = fingerprints.digest_file
        with monkeypatch.context() as patch:
            patch.setattr(
                fingerprints,
                "digest_file",
                lambda path: "new" if path.as_posix().endswith(changed) else original(path),
            )
            digest_code.cache_clear()
            return digest_code()

    before = read("no file")
    for name in ("inverse/walls.py", "dominant_path.yaml", "metrics.py", "reproduce/cells.py"):
        assert read(f"/{name}") != before, name
    for name in ("reproduce/rendering.py", "training/muon.py", "benchmarks/data.py"):
        assert read(f"/{name}") == before, name
    digest_code.cache_clear()


def test_a_custom_method_follows_from_its_imports_and_the_weights_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "custom_package"
    (package / "deep").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "method.py": METHOD,
        "helper.py": "from . import beside\nlength = len\n",
        "beside.py": "",
        "late.py": "",
        "unused.py": "",
        "notes.txt": "",
        "weights.safetensors": "",
        "deep/__init__.py": "from .below import below\n",
        "deep/below.py": "from ..twice_up import value\nbelow = value\n",
        "deep/weights.pt": "",
        "twice_up.py": "value = 1\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    # The current folder is searched, as with `python -m`.
    method = load_method(MethodSettings(source="custom_package.method:predict"))
    found = {path.relative_to(package).as_posix() for path in custom_files(method.predict)}
    assert found == files.keys() - {"unused.py", "notes.txt"}
    for name in [name for name in sys.modules if name.startswith("custom_package")]:
        del sys.modules[name]


def test_methods_of_this_package_have_no_files_of_their_own() -> None:
    assert custom_files(METHODS["kriging"].predict) == []
    assert custom_files(len) == []
