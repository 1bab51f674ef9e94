"""Stages that tests train, and processes that train them."""

import importlib.util
import multiprocessing
import runpy
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

import pytest
import torch

from radiodiff.models.vae import build_vae

SCRIPT = Path(__file__).with_name("small_stages.py")


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module toy_stage.py."""
    return module_beside("toy_stage")


@pytest.fixture(scope="session")
def small_stages() -> ModuleType:
    """The module small_stages.py."""
    return module_beside("small_stages")


def module_beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small_root(
    tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]
) -> Path:
    """Maps of 16 x 16 for small_stages.py, and an autoencoder for its latent diffusion."""
    root = write_radio_maps(
        tmp_path_factory.mktemp("maps"), maps=(1, 2, 3), transmitters=2, shape=(16, 16)
    )
    torch.manual_seed(0)
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4, mid_attention=False)
    vae.save_pretrained(root / "vae")
    return root


@pytest.fixture(scope="session")
def start(small_root: Path) -> Callable[..., BaseProcess]:
    """A function that runs ``small_stages.py STAGE ROOT OUTPUT KEY=VALUE ...`` by itself.

    It takes the stage, the output and the settings. The process is forked from one that has
    imported everything already.
    """

    def start(stage: str, output: Path, *settings: str) -> BaseProcess:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["radiodiff.training.tasks"])
        arguments = [stage, str(small_root), str(output), *settings]
        process = context.Process(
            target=runpy.run_path, args=(str(SCRIPT), {"ARGUMENTS": arguments}, "__main__")
        )
        process.start()
        return process

    return start
