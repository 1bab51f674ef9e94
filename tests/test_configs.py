"""Every shipped configuration is valid, and the paper's have the paper's sizes."""

from pathlib import Path

import pytest
import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from radiodiff.config import Settings, load_config
from radiodiff.evaluation.paper import printed_rows, settings_of
from radiodiff.evaluation.settings import EvaluateConfig
from radiodiff.experiments.predict_settings import PredictConfig
from radiodiff.experiments.reproduce.settings import ReproduceConfig, ScoreTable
from radiodiff.experiments.reproduce.training import load_stage
from radiodiff.experiments.settings import DemoConfig, GenerateConfig, InverseConfig
from radiodiff.experiments.survey_settings import SurveyConfig
from radiodiff.experiments.survey_table import SurveyTableConfig
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.simulate.settings import SimulateConfig
from radiodiff.training.baselines.settings import BaselineExperiment
from radiodiff.training.settings import (
    DecoderExperiment,
    EncodeConfig,
    Experiment,
    LDMExperiment,
    PriorExperiment,
    VAEExperiment,
)

CONFIGS = Path(__file__).parents[1] / "configs"
MODELS: dict[str, type[Settings]] = {
    "vae": VAEExperiment,
    "ldm": LDMExperiment,
    "decoder": DecoderExperiment,
    "encode_latents": EncodeConfig,
    "prior": PriorExperiment,
    "radiounet": BaselineExperiment,
    "uvmnet": BaselineExperiment,
    "rmegan": BaselineExperiment,
    "infer_city": GenerateConfig,
    "infer_ldm": GenerateConfig,
    "infer_inverse": InverseConfig,
    "evaluate": EvaluateConfig,
    "simulate": SimulateConfig,
    "demo": DemoConfig,
    "predict": PredictConfig,
    "survey": SurveyConfig,
    "surveys": SurveyTableConfig,
    "radiodiff_": ReproduceConfig,
    "inverse_": ReproduceConfig,
    "smoke": ReproduceConfig,
}


def model_of(path: Path) -> type[Settings]:
    name = max((name for name in MODELS if path.stem.startswith(name)), key=len)
    return MODELS[name]


LAUNCHES = sorted(CONFIGS.glob("accelerate/*.yaml"))
COMPARISONS = sorted(p for p in CONFIGS.glob("reproduce/*") if model_of(p) is ReproduceConfig)
RUNS = sorted(set(CONFIGS.rglob("*.yaml")) - set(LAUNCHES))


@pytest.mark.parametrize("path", RUNS, ids=lambda p: str(p.stem))
def test_every_configuration_loads(path: Path) -> None:
    load_config(path, model_of(path))


@pytest.mark.parametrize("path", LAUNCHES, ids=lambda p: str(p.stem))
def test_accelerate_launches_eight_processes_on_every_machine(path: Path) -> None:
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "script.py"])
    arguments, _, _ = _validate_launch_command(arguments)
    environment = prepare_multi_gpu_env(arguments)
    machines = {"one_machine": None, "machines": "8"}[path.stem]
    assert arguments.nproc_per_node == "8"
    assert getattr(arguments, "nnodes", None) == machines
    assert arguments.rdzv_backend == "static"
    # Precision and sharding are settings of the run.
    assert environment["ACCELERATE_MIXED_PRECISION"] == "no"
    assert "ACCELERATE_USE_FSDP" not in environment


@pytest.mark.parametrize("path", COMPARISONS, ids=lambda p: p.stem)
def test_what_a_comparison_trains_and_prints_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    config = load_config(path, ReproduceConfig)
    outputs: dict[Path, Experiment] = {}
    for variants in config.methods.values():
        for entry in variants.values():
            before = None
            for stage in entry.train:
                experiment = load_stage(stage, config, before)
                assert outputs.setdefault(experiment.output, experiment) == experiment
                before = experiment.output / "model"
    for table in config.tables.values():
        if isinstance(table, ScoreTable):
            assert table.printed is not None
            assert list(table.scenarios) == list(settings_of(table.printed))
            printed = printed_rows(table.printed, next(iter(table.scenarios)))
            assert set(table.methods) == set(printed)


def count(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize("tag", ["srm", "drm"])
def test_the_papers_networks_have_the_papers_sizes(tag: str) -> None:
    vae = load_config(CONFIGS / "paper" / f"vae_{tag}.yaml", VAEExperiment)
    ldm = load_config(CONFIGS / "paper" / f"ldm_{tag}.yaml", LDMExperiment)
    with torch.device("meta"):
        autoencoder = build_vae(**vae.model.model_dump())
        denoiser = DecoupledUNet(
            latent_channels=vae.model.latent_channels,
            prompt_channels=len(ldm.data.prompt_features),
            **ldm.model.model_dump(exclude={"prompt_weights"}),
        )
    assert count(autoencoder) == pytest.approx(55.3, abs=0.05)
    assert count(denoiser) == pytest.approx(224.9, abs=0.05)
    assert count(denoiser.pyramid) == pytest.approx(87.8, abs=0.05)


def test_the_small_networks_are_small() -> None:
    vae = load_config(CONFIGS / "small" / "vae.yaml", VAEExperiment)
    ldm = load_config(CONFIGS / "small" / "ldm.yaml", LDMExperiment)
    with torch.device("meta"):
        autoencoder = build_vae(**vae.model.model_dump())
        denoiser = DecoupledUNet(
            latent_channels=vae.model.latent_channels,
            prompt_channels=len(ldm.data.prompt_features),
            filter_size=(16, 16),
            **ldm.model.model_dump(exclude={"prompt_weights"}),
        )
    assert count(autoencoder) + count(denoiser) <= 16.0
