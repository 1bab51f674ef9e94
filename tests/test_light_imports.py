"""A command line is answered, and the package imported, before torch and its like are loaded."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import radiodiff

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "diffusers", "numba", "skimage", "matplotlib", "scipy", "accelerate")
SCRIPTS = {
    "demo.py": "demo.yaml",
    "encode_latents.py": "small/encode_latents.yaml",
    "evaluate.py": "small/evaluate.yaml",
    "infer_inverse.py": "small/infer_inverse.yaml",
    "infer_ldm.py": "small/infer_ldm.yaml",
    "predict.py": "predict.yaml",
    "reproduce.py": "reproduce/smoke.yaml",
    "simulate.py": "small/simulate.yaml",
    "train_baseline.py": "small/radiounet.yaml",
    "train_decoder.py": "small/decoder.yaml",
    "train_ldm.py": "small/ldm.yaml",
    "train_prior.py": "small/prior.yaml",
    "train_vae.py": "small/vae.yaml",
}
RUN = """
import runpy, sys
script, *sys.argv[1:] = sys.argv[1:]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    print("loaded:", *(name for name in {heavy!r} if name in sys.modules))
"""


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import radiodiff, sys; print(*(n for n in {HEAVY!r} if n in sys.modules))"
    result = run_python("-c", code)
    assert (result.returncode, result.stdout.strip()) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_mistyped_key_is_answered_before_torch_is_loaded(script: str) -> None:
    code = RUN.format(heavy=HEAVY)
    config = f"configs/{SCRIPTS[script]}"
    result = run_python("-c", code, f"scripts/{script}", "--config", config, "no_such_key=1")
    assert result.returncode == 2
    assert result.stdout.strip() == "loaded:"
    assert result.stderr.startswith(f"error: {config}: no_such_key: unknown key")


def test_a_benchmark_answers_to_help_before_torch_is_loaded() -> None:
    result = run_python("-c", RUN.format(heavy=HEAVY), "scripts/benchmark.py", "inverse", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: ")
    assert result.stdout.splitlines()[-1].strip() == "loaded:"


def test_a_mistyped_key_of_a_survey_is_answered_before_torch_is_loaded() -> None:
    words = ["--measurements", "s.csv", "--config", "configs/small/survey.yaml", "no_such_key=1"]
    result = run_python("-c", RUN.format(heavy=HEAVY), "scripts/infer_inverse.py", *words)
    assert (result.returncode, result.stdout.strip()) == (2, "loaded:")


def test_a_survey_that_asks_for_no_prior_loads_no_network() -> None:
    code = "import radiodiff.experiments.survey, sys; print('diffusers' in sys.modules)"
    result = run_python("-c", code)
    assert (result.returncode, result.stdout.strip()) == (0, "False"), result.stderr


def test_the_public_names_are_what_they_say() -> None:
    assert set(radiodiff.__all__) <= set(dir(radiodiff))
    for name in radiodiff.__all__:
        assert getattr(radiodiff, name).__name__.split(".")[-1] == name
    with pytest.raises(AttributeError, match="no attribute 'RadioDif'"):
        radiodiff.RadioDif  # noqa: B018


def test_compiled_code_finds_a_place_where_neither_package_nor_home_is_writable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    radiodiff._find_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "theirs")
    radiodiff._find_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == "theirs"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    radiodiff._find_cache()
    assert os.environ["NUMBA_CACHE_DIR"].startswith(tempfile.gettempdir())
