from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from radiodiff.data.radiomapseer import build_dataset
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.diffusion.process import diffuse
from radiodiff.errors import InputError
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.inverse.settings import Prediction
from radiodiff.models.settings import VAELossSettings
from radiodiff.models.vae import VAELoss, build_vae
from radiodiff.training import latents, tasks
from radiodiff.training.checkpoints import load_newest
from radiodiff.training.experiments import open_datasets, run_experiment, train_stage
from radiodiff.training.settings import LDMExperiment, PriorExperiment, VAEExperiment

OPTIMIZER = {
    "learning_rate": 1e-3,
    "final_learning_rate": 1e-4,
    "schedule": "cosine",
    "weight_decay": 0.0,
    "gradient_clip": 1.0,
}


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]) -> Any:
    """What every small experiment shares; maps of 32 x 32, two steps."""
    root = write_radio_maps(
        tmp_path_factory.mktemp("maps"), maps=(1, 2, 3), transmitters=2, shape=(32, 32)
    )
    return {
        "data": {
            "root": root,
            "split": "explicit",
            "maps": {"train": [1, 2], "val": [3]},
        },
        "train": {
            "steps": 2,
            "batch_size": 2,
            "precision": "fp32",
            "seed": 0,
            "ema": {"decay": 0.5},
            "log_every": 1,
            "validate_every": 2,
            "validation_maps": 2,
            "checkpoint_every": 2,
        },
        "optimizer": OPTIMIZER,
    }


@pytest.fixture(scope="module")
def vae_run(common: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of stage one, with the discriminator on from the second step."""
    config = VAEExperiment.model_validate(
        common
        | {
            "output": tmp_path_factory.mktemp("vae") / "run",
            "model": {"widths": [8, 8], "layers_per_block": 1, "norm_groups": 4},
            "loss": {
                "perceptual": "none",
                "discriminator_start": 1,
                "discriminator_width": 4,
                "discriminator_layers": 1,
            },
            "discriminator_optimizer": OPTIMIZER,
        }
    )
    training, validation = open_datasets(config)
    run_experiment(config, tasks.VAETask(config, validation), training, resume=False)
    return config.output


def ldm_config(common: dict[str, Any], vae: Path, output: Path, **changes: Any) -> LDMExperiment:
    values = {
        "output": output,
        "vae": vae,
        "latent_scale": None,
        "model": {
            "dim": 8,
            "dim_mults": [1, 1],
            "prompt_encoder": "convolutional",
            "window_sizes": [2, 1],
            "aft": True,
        },
        "diffusion": {"loss": "paper"},
        "sampling_steps": 2,
    }
    return LDMExperiment.model_validate(common | values | changes)


def test_each_phase_trains_its_own_network() -> None:
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4)
    loss = VAELoss(
        VAELossSettings(
            perceptual="none",
            discriminator_start=0,
            discriminator_width=4,
            discriminator_layers=1,
        )
    )
    batch = {"gain": torch.rand(2, 1, 16, 16), "noise": torch.randn(2, 3, 8, 8)}

    def gradients(module: nn.Module) -> list[bool]:
        return [parameter.grad is not None for parameter in module.parameters()]

    objective = tasks.Autoencoder(vae, loss)
    value, logs = objective(batch, 0)
    value.backward()
    assert "adversarial" in logs
    assert all(gradients(vae))
    assert loss.discriminator is not None
    assert not any(gradients(loss.discriminator))
    vae.zero_grad()
    objective = tasks.Discriminator(vae, loss)
    objective(batch, 0)[0].backward()
    assert not any(gradients(vae))
    assert all(gradients(loss.discriminator))


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_the_diffusion_loss_vanishes_for_a_perfect_prediction(attenuation: str) -> None:
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4, latent_scale=0.7)
    batch = {
        "gain": torch.rand(3, 1, 16, 16),
        "prompt": torch.rand(3, 2, 16, 16),
        "noise": torch.randn(3, 3, 8, 8),
        "time": torch.tensor([0.1, 0.5, 1.0]),
    }
    z_0 = vae.encode(batch["gain"]).latent_dist.mean.detach() * 0.7
    target: tuple[Tensor, ...] = (-z_0, batch["noise"])
    if attenuation == "linear":
        batch["slope"] = torch.randn(3, 3, 8, 8)
        target = (batch["slope"], -z_0 - batch["slope"] / 2, batch["noise"])

    class Perfect(nn.Module):
        def forward(self, z_t: Tensor, t: Tensor, prompt: Tensor) -> tuple[Tensor, ...]:
            assert torch.equal(prompt, batch["prompt"])
            assert torch.allclose(z_t, diffuse(z_0, target[:-1], batch["noise"], t), atol=1e-6)
            return target

    objective = tasks.LatentDiffusion(
        Perfect(), vae, DecoupledScheduler(attenuation=attenuation, loss="released")
    )
    assert objective(batch, 0)[0].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_prior_loss_is_the_error_of_the_prediction(prediction: Prediction) -> None:
    class Zero(nn.Module):
        def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = True) -> tuple[Tensor]:
            self.seen = x_t
            return (torch.zeros_like(x_t),)

    schedule = build_noise_schedule(2, prediction)
    schedule.alphas_cumprod = torch.tensor([0.99, 0.36])
    network = Zero()
    batch = {
        "gain": torch.rand(2, 1, 8, 8),
        "noise": torch.randn(2, 1, 8, 8),
        "timestep": torch.tensor([1, 0]),
    }
    loss, _ = tasks.PriorObjective(network, schedule)(batch, 0)
    signal = torch.tensor([0.36, 0.99]).sqrt().view(-1, 1, 1, 1)
    sigma = (1 - signal.square()).sqrt()
    target = batch["noise"]
    if prediction == "v_prediction":
        target = signal * batch["noise"] - sigma * batch["gain"]
    assert loss.item() == pytest.approx(target.square().mean().item())
    assert torch.allclose(network.seen[0], 0.6 * batch["gain"][0] + 0.8 * batch["noise"][0])


def test_clean_pixels_weigh_no_more_than_ten_in_a_loss_of_levels() -> None:
    error = 0.1

    class Erring(nn.Module):
        """Gives the velocity of a clean map that is wrong by ``error`` everywhere."""

        def forward(self, x_t: Tensor, t: Tensor, return_dict: bool = True) -> tuple[Tensor]:
            abar = schedule.alphas_cumprod[t]
            found = (x_t - (1 - abar).sqrt() * batch["noise"]) / abar.sqrt() + error
            return ((abar.sqrt() * x_t - found) / (1 - abar).sqrt(),)

    schedule = build_noise_schedule(2, "v_prediction")
    schedule.alphas_cumprod = torch.tensor([0.9975, 0.5])
    levels = torch.tensor([0, 1]).repeat(32).view(1, 1, 8, 8)
    batch = {
        "gain": torch.rand(1, 1, 8, 8),
        "noise": torch.randn(1, 1, 8, 8),
        "timestep": levels,
    }
    loss, _ = tasks.PriorObjective(Erring(), schedule)(batch, 0)
    # Half of the pixels at 1 / (1 - 0.5) = 2, half at 10 instead of 1 / (1 - 0.9975) = 400.
    assert loss.item() == pytest.approx(error**2 * (2 + 10) / 2, rel=1e-3)


def test_stage_one_exports_what_it_validated(vae_run: Path, common: dict[str, Any]) -> None:
    vae = latents.load_vae(vae_run / "model")
    assert isinstance(vae, AutoencoderKL)
    config = VAEExperiment.model_validate_json(
        VAEExperiment.model_validate(
            common
            | {
                "output": vae_run,
                "model": {"widths": [8, 8], "layers_per_block": 1, "norm_groups": 4},
                "loss": {"perceptual": "none"},
                "discriminator_optimizer": OPTIMIZER,
            }
        ).model_dump_json()
    )
    task = tasks.VAETask(config, build_dataset(config.data, "val"))
    task.averaged.load_state_dict(vae.state_dict())
    scores = task.validate(range(2))
    line = (vae_run / "metrics.jsonl").read_text().splitlines()[-1]
    assert f'"validation/score": {sum(scores["score"]) / 2}' in line
    assert task.preview()["reconstruction"].shape == (1, 2 * 32, 2 * 32)


def test_latents_are_brought_to_unit_variance(vae_run: Path, common: dict[str, Any]) -> None:
    config = ldm_config(common, vae_run / "model", Path("unused"))
    validation = build_dataset(config.data, "val")
    vae = latents.load_vae(config.vae)
    scale = latents.measure_latent_scale(vae, validation, 2)
    encoded = latents.encode(vae, torch.stack([validation[k]["gain"] for k in range(2)]))
    assert scale * encoded.std().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_stage_two_exports_a_pipeline(
    vae_run: Path, common: dict[str, Any], tmp_path: Path, attenuation: str
) -> None:
    changes = {"diffusion": {"attenuation": attenuation}, "latent_scale": 0.5}
    config = ldm_config(common, vae_run / "model", tmp_path / "run", **changes)
    training, validation = open_datasets(config)
    task = tasks.LDMTask(config, validation)
    run_experiment(config, task, training, resume=False)
    pipeline = RadioDiffPipeline.from_pretrained(config.output / "model")
    assert pipeline.vae.config.scaling_factor == 0.5
    item = validation[1]
    made = pipeline(
        item["buildings"][0],
        item["transmitter"].tolist(),
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(1),
    )
    assert made.gray.shape == (1, 32, 32)
    assert task.preview()["generated"].shape == (1, 64, 64)


def test_the_prior_is_exported_as_a_pipeline(common: dict[str, Any], tmp_path: Path) -> None:
    model = {"patch_size": 2, "block_out_channels": [32], "layers_per_block": 1, "attention": False}
    config = PriorExperiment.model_validate(
        common | {"output": tmp_path / "run", "model": model, "num_train_timesteps": 50}
    )
    training, validation = open_datasets(config)
    run_experiment(config, tasks.PriorTask(config, validation), training, resume=False)
    pipeline = RadioDiffInversePipeline.from_pretrained(config.output / "model")
    assert pipeline.scheduler.config.num_train_timesteps == 50
    state = load_newest(config.output / "checkpoints")
    assert state is not None
    exported = pipeline.unet.parameters()
    for shadow, parameter in zip(state["ema"]["shadow_params"], exported, strict=True):
        assert torch.equal(shadow, parameter)


def test_log_normal_noise_levels_have_their_median_and_spread(common: dict[str, Any]) -> None:
    model = {"patch_size": 2, "block_out_channels": [32], "layers_per_block": 1, "attention": False}
    config = PriorExperiment.model_validate(
        common | {"output": "unused", "model": model, "noise_levels": "log_normal"}
    )
    task = tasks.PriorTask(config, open_datasets(config)[1])
    generator = torch.Generator().manual_seed(0)
    item = {"gain": torch.zeros(1, 2, 2)}
    drawn = torch.stack([task.draw(item, generator)["timestep"] for _ in range(4000)])
    log_sigma = -0.5 * build_noise_schedule().alphas_cumprod.logit()[drawn]
    quartiles = log_sigma.quantile(torch.tensor([0.25, 0.5, 0.75]))
    expected = torch.tensor([-1.2 - 0.674 * 1.2, -1.2, -1.2 + 0.674 * 1.2])
    torch.testing.assert_close(quartiles, expected, atol=0.08, rtol=0)


def test_training_starts_from_given_weights(common: dict[str, Any], tmp_path: Path) -> None:
    model = {"patch_size": 2, "block_out_channels": [32], "layers_per_block": 1, "attention": False}
    given = PatchUNet(sample_size=32, num_train_timesteps=50, **model)
    given.save_pretrained(tmp_path / "given")
    still = common["optimizer"] | {"learning_rate": 1e-9, "final_learning_rate": 0.0}
    values = common | {"model": model, "num_train_timesteps": 50, "optimizer": still}
    tuned = {"output": tmp_path / "tuned", "start_from": tmp_path / "given"}
    train_stage(PriorExperiment.model_validate(values | tuned), tasks.PriorTask, resume=False)
    found = RadioDiffInversePipeline.from_pretrained(tmp_path / "tuned" / "model").unet
    for name, weight in given.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, atol=1e-6, rtol=0)

    # A run that goes on needs them no more.
    (tmp_path / "given").rename(tmp_path / "moved")
    train_stage(PriorExperiment.model_validate(values | tuned), tasks.PriorTask, resume=True)
    (tmp_path / "moved").rename(tmp_path / "given")

    for folder, changes in (("given", {"block_out_channels": [64]}), ("nowhere", {})):
        wrong = {"model": model | changes, "start_from": tmp_path / folder}
        config = PriorExperiment.model_validate(values | wrong | {"output": tmp_path / "wrong"})
        with pytest.raises(InputError, match=r"start_from: .* holds no PatchUNet of these sizes"):
            train_stage(config, tasks.PriorTask, resume=False)
        assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_maps": 9}, r"validation_maps: found 9, the validation part has 2"),
        ({"batch_size": 3, "accumulation": 2}, "multiple of accumulation"),
    ],
)
def test_impossible_training_settings(
    common: dict[str, Any], tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    values = common | {"train": common["train"] | changes, "output": tmp_path}
    model = {"patch_size": 2, "block_out_channels": [32], "layers_per_block": 1, "attention": False}
    with pytest.raises(ValueError, match=message):
        open_datasets(PriorExperiment.model_validate(values | {"model": model}))


def test_a_missing_or_foreign_autoencoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no autoencoder there; train one"):
        latents.load_vae(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(InputError, match="not an autoencoder"):
        latents.load_vae(tmp_path)
