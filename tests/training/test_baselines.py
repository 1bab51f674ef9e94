import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from pydantic import ValidationError
from torch import Tensor, nn

from radiodiff.data.measurements import Measurements
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.errors import InputError
from radiodiff.models.baselines.pipeline import BaselinePipeline, network_input
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.training.baselines import radiounet, rmegan, uvmnet
from radiodiff.training.baselines.common import (
    BaselineTask,
    draw_measurements,
)
from radiodiff.training.baselines.experiment import build_network, train_baseline
from radiodiff.training.baselines.registry import BASELINES
from radiodiff.training.baselines.settings import BaselineExperiment
from radiodiff.training.settings import MeasurementRanges
from radiodiff.units import model_to_gray

OPTIMIZER = {
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-3,
    "schedule": "constant",
    "weight_decay": 0.0,
    "gradient_clip": None,
}
NARROW = (2, 3, 3, 4, 4, 4, 4, 4, 4)
MODELS: dict[str, dict[str, Any]] = {
    "radiounet": {"first_widths": NARROW, "second_widths": NARROW, "head_widths": [3, 3]},
    "uvmnet": {"widths": [2, 3, 3], "grid": 4, "states": 2, "hidden": 2},
    "rmegan": {
        "widths": NARROW,
        "head_width": 3,
        "discriminator_width": 2,
        "discriminator_optimizer": OPTIMIZER,
        "second_phase": 1,
    },
}
MEASUREMENTS = {
    "kind": "pixel",
    "aware": True,
    "missing_ratio": [0.7, 0.9],
    "noise_std": [0.01, 0.09],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    return write_radio_maps(folder, maps=(1, 2, 3), transmitters=2, shape=(64, 64))


def experiment(root: Path, output: Path, name: str, **changes: Any) -> BaselineExperiment:
    return BaselineExperiment.model_validate(
        {
            "output": output,
            "data": {
                "root": root,
                "split": "explicit",
                "maps": {"train": [1, 2], "val": [3]},
                "prompt_features": ["buildings", "transmitter"],
            },
            "model": {"name": name} | MODELS[name],
            "measurements": None,
            "optimizer": OPTIMIZER,
            "train": {
                "steps": 2,
                "batch_size": 2,
                "precision": "fp32",
                "seed": 0,
                "ema": None,
                "log_every": 1,
                "validate_every": 2,
                "validation_maps": 2,
                "checkpoint_every": 2,
            },
        }
        | changes
    )


def train(config: BaselineExperiment, resume: bool = False) -> BaselinePipeline:
    torch.manual_seed(0)
    train_baseline(config, resume)
    return BaselinePipeline.from_pretrained(config.output / "model")


@pytest.fixture(scope="module")
def with_measurements(root: Path, tmp_path_factory: pytest.TempPathFactory) -> BaselineExperiment:
    """A trained RadioUNet that takes measurements."""
    output = tmp_path_factory.mktemp("radiounet") / "run"
    config = experiment(root, output, "radiounet", measurements=MEASUREMENTS)
    train(config)
    return config


def validation(config: BaselineExperiment) -> RadioMapSeer:
    return build_dataset(config.data, "val")


def batch_of(maps: RadioMapSeer, **more: Tensor) -> dict[str, Any]:
    items = [maps[index] for index in range(2)]
    batch = {key: torch.stack([item[key] for item in items]) for key in ("gain", "prompt")}
    return batch | more


def gradients(module: nn.Module) -> list[bool]:
    return [parameter.grad is not None for parameter in module.parameters()]


@pytest.mark.parametrize("name", ["uvmnet", "rmegan"])
def test_one_call_trains_and_exports_what_was_validated(
    name: str, root: Path, tmp_path: Path
) -> None:
    config = experiment(root, tmp_path / "run", name)
    pipeline = train(config)
    task = uvmnet.UVMNetTask if name == "uvmnet" else rmegan.RMEGANTask
    maps = validation(config)
    stage = task(config, maps)
    stage.averaged.load_state_dict(pipeline.network.state_dict())
    stage.averaged.eval()
    scores = stage.validate([0, 1])
    truth = model_to_gray(torch.cat([maps[0]["gain"], maps[1]["gain"]]))
    gray = pipeline(batch_of(maps)["prompt"])
    assert gray.shape == (2, 64, 64)
    expected = (gray - truth).square().sum(dim=(1, 2)) / truth.square().sum(dim=(1, 2))
    assert scores["score"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert stage.preview()["predicted"].shape == (1, 128, 128)


def test_radiounet_is_trained_in_two_phases(with_measurements: BaselineExperiment) -> None:
    run = with_measurements.output
    first_phase = RadioUNet.from_pretrained(run / "first_unet" / "model").state_dict()
    torch.manual_seed(0)
    initial = build_network(with_measurements).state_dict()
    final = BaselinePipeline.from_pretrained(run / "model").network.state_dict()
    moved_first = [
        key.split(".")[0] for key in initial if not torch.equal(initial[key], first_phase[key])
    ]
    moved_second = [
        key.split(".")[0] for key in initial if not torch.equal(first_phase[key], final[key])
    ]
    assert set(moved_first) == {"first"}
    assert set(moved_second) == {"second"}


def test_a_finished_first_phase_is_not_repeated(
    with_measurements: BaselineExperiment,
) -> None:
    run = with_measurements.output
    weights = run / "model" / "network" / "diffusion_pytorch_model.safetensors"
    steps, before = (run / "first_unet" / "metrics.jsonl").read_text(), weights.read_bytes()
    train(with_measurements, resume=True)
    assert (run / "first_unet" / "metrics.jsonl").read_text() == steps
    assert weights.read_bytes() == before
    with pytest.raises(InputError, match="add --resume"):
        train(with_measurements)


def test_the_second_phase_waits_for_the_first(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: BaselineTask, item: Any, generator: torch.Generator) -> dict[str, Tensor]:
        signal.raise_signal(signal.SIGTERM)
        return {}

    config = experiment(root, tmp_path / "run", "radiounet")
    with monkeypatch.context() as patch:
        patch.setattr(BaselineTask, "draw", stop)
        train_baseline(config, resume=False)
    assert {path.name for path in config.output.iterdir()} == {"first_unet"}
    train_baseline(config, resume=True)
    assert (config.output / "model" / "model_index.json").is_file()


def test_each_phase_is_scored_by_its_own_map(root: Path, tmp_path: Path) -> None:
    config = experiment(root, tmp_path, "radiounet")
    maps = validation(config)
    first = radiounet.FirstUNetTask(config, maps)
    second = radiounet.SecondUNetTask(config, maps, first.averaged)
    truth = model_to_gray(batch_of(maps)["gain"])
    with torch.no_grad():
        outputs = first.averaged(network_input(batch_of(maps)["prompt"], None))
    for task, output in zip((first, second), outputs, strict=True):
        error = (output.clamp(0, 1) - truth).square().flatten(1).sum(dim=1)
        expected = error / truth.square().flatten(1).sum(dim=1)
        assert task.validate([0, 1])["score"] == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_network_with_measurements_looks_at_them(with_measurements: BaselineExperiment) -> None:
    pipeline = BaselinePipeline.from_pretrained(with_measurements.output / "model")
    batch = batch_of(validation(with_measurements))
    mask = torch.zeros_like(batch["gain"], dtype=torch.bool)
    mask[..., ::3, ::3] = True
    gray = pipeline(batch["prompt"], Measurements(batch["gain"], mask))
    other = pipeline(batch["prompt"], Measurements(-batch["gain"], mask))
    assert not torch.equal(gray, other)
    with pytest.raises(InputError, match="none given, this network was trained with them"):
        pipeline(batch["prompt"])
    unseen = batch["gain"].where(mask, torch.full_like(batch["gain"], torch.nan))
    assert torch.equal(pipeline(batch["prompt"], Measurements(unseen, mask)), gray)


def test_every_validation_map_has_measurements_of_its_own(
    with_measurements: BaselineExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = radiounet.SecondUNetTask(
        with_measurements,
        validation(with_measurements),
        build_network(with_measurements),
    )
    seen: list[Measurements] = []

    def predict(self: BaselinePipeline, prompt: Tensor, measurements: Measurements) -> Tensor:
        seen.append(measurements)
        return torch.zeros(len(prompt), 64, 64)

    monkeypatch.setattr(BaselinePipeline, "__call__", predict)
    task.validate([0, 1])
    task.validate([1])
    both, one = seen
    assert not torch.equal(both.mask[0], both.mask[1])
    assert torch.equal(both.mask[1:], one.mask)
    assert torch.equal(both.values[1:], one.values)


def test_inputs_are_masks_of_0_and_1_and_gray_samples() -> None:
    prompt = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    values = torch.tensor([[[[0.5, 0.5], [-1.0, 1.0]]]])
    mask = torch.tensor([[[[True, False], [True, True]]]])
    x = network_input(prompt, (values, mask))
    assert x[0, 0].eq(0).all()
    assert x[0, 1].eq(1).all()
    assert x[0, 2].tolist() == [[0.75, 0.0], [0.0, 1.0]]
    assert torch.equal(network_input(prompt, None), x[:, :2])


@pytest.mark.parametrize("kind", ["pixel", "block"])
def test_measurements_are_drawn_from_the_ranges_and_the_generator_alone(kind: str) -> None:
    settings = MeasurementRanges.model_validate(MEASUREMENTS | {"kind": kind})
    gain = torch.rand(1, 48, 48) * 2 - 1
    buildings = torch.zeros(1, 48, 48, dtype=torch.bool)
    buildings[:, 10:20, 10:30] = True
    ratios, errors = [], []
    for seed in range(12):
        drawn, again = (
            draw_measurements(gain, buildings, settings, torch.Generator().manual_seed(seed))
            for _ in range(2)
        )
        assert torch.equal(drawn.values, again.values)
        assert drawn.mask[0][buildings].all()
        assert (drawn.values[0][buildings] == -1).all()
        ratios.append(1 - drawn.mask[0][~buildings].float().mean().item())
        outdoors = drawn.mask[0] & ~buildings
        errors.append((drawn.values[0] - gain)[outdoors].std().item())
    assert 0.7 <= min(ratios) < 0.78 < 0.82 < max(ratios) <= 0.9
    assert 0.008 < min(errors) < 0.04 < 0.06 < max(errors) < 0.1
    unaware = settings.model_copy(update={"aware": False, "kind": "pixel"})
    mask = draw_measurements(gain, buildings, unaware, torch.Generator().manual_seed(0)).mask
    assert 0 < mask[0][buildings].float().mean() < 0.5


def test_the_gans_phases_train_their_own_networks(root: Path, tmp_path: Path) -> None:
    config = experiment(root, tmp_path, "rmegan", measurements=MEASUREMENTS)
    task = rmegan.RMEGANTask(config, validation(config))
    discrimination, generation = (phase.objective for phase in task.phases)
    item = validation(config)[0]
    drawn = task.draw(item, torch.Generator().manual_seed(0))
    batch = {key: value[None] for key, value in drawn.items()}
    batch |= {key: item[key][None] for key in ("gain", "prompt")}
    discriminator = discrimination.discriminator
    discrimination(batch, 0)[0].backward()
    assert not any(gradients(task.averaged))
    assert all(gradients(discriminator))
    discriminator.zero_grad()
    loss, parts = generation(batch, 0)
    loss.backward()
    assert all(gradients(task.averaged))
    assert not any(gradients(discriminator))
    # The direction of free propagation first, structure and samples from step 1 on.
    assert {"direction"} < parts.keys()
    assert not {"structure", "samples"} & parts.keys()
    assert {"structure", "samples"} < generation(batch, 1)[1].keys()


def test_the_discriminators_loss_falls_when_it_is_right(root: Path, tmp_path: Path) -> None:
    config = experiment(root, tmp_path, "rmegan")
    task = rmegan.RMEGANTask(config, validation(config))

    class Judge(nn.Module):
        def forward(self, gray: Tensor, x: Tensor) -> Tensor:
            right = torch.equal(gray, model_to_gray(batch["gain"]))
            return torch.full((2, 1, 1, 1), 4.0 if right else -4.0)

    batch = batch_of(validation(config))
    loss, logs = rmegan.Discrimination(task.averaged, Judge())(batch, 0)
    assert loss.item() == pytest.approx(0.0181, abs=1e-4)  # log(1 + exp(-4))
    assert (logs["logits_real"], logs["logits_fake"]) == (4.0, -4.0)


def test_the_second_u_net_leaves_the_first_alone(root: Path, tmp_path: Path) -> None:
    config = experiment(root, tmp_path, "radiounet")
    network = build_network(config)
    task = radiounet.SecondUNetTask(config, validation(config), network)
    (phase,) = task.phases
    batch = batch_of(validation(config))
    loss, _ = phase.objective(batch, 0)
    loss.backward()
    assert not any(gradients(network.first))
    assert all(gradients(network.second))
    with torch.no_grad():
        expected = network(network_input(batch["prompt"], None))[1] - model_to_gray(batch["gain"])
    assert loss.item() == pytest.approx(expected.square().mean().item(), rel=1e-5)


def test_impossible_settings_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="0 <= least <= largest"):
        MeasurementRanges.model_validate(MEASUREMENTS | {"noise_std": [0.2, 0.1]})
    with pytest.raises(ValidationError, match="a ratio must be below 1"):
        MeasurementRanges.model_validate(MEASUREMENTS | {"missing_ratio": [0.5, 1.0]})
    with pytest.raises(ValidationError, match="'radiounet', 'uvmnet', 'rmegan'"):
        experiment(root, tmp_path, "radiounet", model={"name": "radionet"})
    with pytest.raises(InputError, match="so no saved BaselinePipeline"):
        BaselinePipeline.from_pretrained(tmp_path)
    network = build_network(experiment(root, tmp_path, "radiounet"))
    with pytest.raises(InputError, match="input channels: found 3, the network has 2"):
        BaselinePipeline(network, ["buildings", "transmitter"], takes_measurements=True)


def test_every_baseline_is_registered_under_the_name_of_its_settings() -> None:
    for name, baseline in BASELINES.items():
        assert baseline.settings.model_fields["name"].annotation == Literal[name]


def test_a_network_of_another_file_loads_without_being_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved networks name their file, so a new one needs no line where networks are loaded."""

    class Mine(ModelMixin, ConfigMixin):
        config_name = "config.json"

        @register_to_config
        def __init__(self, in_channels: int = 2) -> None:
            super().__init__()
            self.layer = nn.Conv2d(in_channels, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    module = ModuleType("radiodiff.models.baselines.mine")
    Mine.__module__, Mine.__qualname__ = module.__name__, "Mine"
    monkeypatch.setattr(module, "Mine", Mine, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    pipeline = BaselinePipeline(Mine(2), ["buildings", "transmitter"])
    pipeline.save_pretrained(tmp_path)
    prompt = torch.ones(1, 2, 8, 8)
    loaded = BaselinePipeline.from_pretrained(tmp_path)
    assert isinstance(loaded.network, Mine)
    assert torch.equal(loaded(prompt), pipeline(prompt))
    index = tmp_path / "model_index.json"
    for other in ("os", "radiodiff.no_such_module", "radiodiff.cli"):
        index.write_text(index.read_text().replace(module.__name__, other))
        with pytest.raises(InputError, match="expected one of radiodiff"):
            BaselinePipeline.from_pretrained(tmp_path)
        index.write_text(index.read_text().replace(other, module.__name__))
