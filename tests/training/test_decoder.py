"""The decoder is tuned to latents that the denoiser samples, and to nothing else."""

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from radiodiff.data.radiomapseer import build_dataset
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.models.vae import build_vae
from radiodiff.training.checkpoints import load_newest
from radiodiff.training.decoder import DecoderTask, SampledDecoding
from radiodiff.training.experiments import train_stage
from radiodiff.training.settings import DecoderExperiment
from radiodiff.training.tasks import LDMTask


@pytest.mark.parametrize("channel", [None, 1])
def test_the_loss_is_that_of_decoded_estimates(channel: int | None) -> None:
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4, latent_scale=0.7)
    batch = {
        "gain": torch.rand(3, 1, 16, 16),
        "prompt": torch.randn(3, 2, 16, 16),
        "noise": torch.randn(3, 3, 8, 8),
    }
    found = torch.randn(3, 3, 8, 8)

    class Denoiser(nn.Module):
        """Takes every latent for ``found``."""

        def encode_prompt(self, prompt: Tensor, latent_size: torch.Size) -> Tensor:
            assert latent_size == (8, 8)
            return prompt

        def forward(self, z_t: Tensor, t: Tensor, features: Tensor) -> tuple[Tensor, ...]:
            assert features is batch["prompt"]
            share = t.view(-1, 1, 1, 1)
            return -found, (z_t - (1 - share) * found) / share.sqrt()

    scheduler = DecoupledScheduler(mode="mean")
    pipeline: Any = SimpleNamespace(
        vae=vae,
        denoiser=Denoiser(),
        scheduler=scheduler,
        correction=None,
        path_loss_channel=None,
        config=SimpleNamespace(
            prompt_features=["transmitter", "buildings"], zero_buildings=channel is not None
        ),
    )
    loss, _ = SampledDecoding(pipeline, 2)(batch, 0)
    loss.backward()
    error = (vae.decode(found / 0.7).sample.detach() - batch["gain"]).square()
    if channel is not None:
        error = error * (batch["prompt"][:, channel : channel + 1] <= 0)
    assert loss.item() == pytest.approx(error.mean().item(), rel=1e-4)
    trained = (vae.decoder, vae.post_quant_conv)
    assert all(p.grad is not None for part in trained for p in part.parameters())
    assert all(p.grad is None for p in vae.encoder.parameters())


@pytest.fixture
def stage_two(small_root: Path, small_stages: ModuleType, tmp_path: Path) -> Path:
    train = small_stages.TRAIN | {"steps": 4, "validate_every": 4}
    config = small_stages.experiment(
        "ldm", small_root, tmp_path / "ldm", train=train, zero_buildings=True
    )
    train_stage(config, LDMTask, resume=False)
    return tmp_path / "ldm" / "model"


def tuning(root: Path, pipeline: Path, stages: ModuleType, **changes: Any) -> DecoderExperiment:
    values = {
        "output": pipeline.parents[1] / "decoder",
        "pipeline": pipeline,
        "data": {"root": root, "split": "explicit", "maps": {"train": [1, 2], "val": [3]}},
        "sampling_steps": 2,
        "optimizer": stages.OPTIMIZER,
        "train": stages.TRAIN | {"steps": 20, "batch_size": 4, "validate_every": 20},
    }
    return DecoderExperiment.model_validate(values | changes)


def test_only_the_decoder_learns(
    small_root: Path, stage_two: Path, small_stages: ModuleType
) -> None:
    config = tuning(small_root, stage_two, small_stages)
    validation = build_dataset(config.data, "val")
    before = DecoderTask(config, validation)
    (score_before, *_) = before.validate([0])["score"]
    train_stage(config, DecoderTask, resume=False)

    given = RadioDiffPipeline.from_pretrained(stage_two)
    tuned = RadioDiffPipeline.from_pretrained(config.output / "model")
    for one, other in ((given.denoiser, tuned.denoiser), (given.vae.encoder, tuned.vae.encoder)):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    state = load_newest(config.output / "checkpoints")
    assert state is not None
    averages = state["ema"]["shadow_params"]
    for average, weight in zip(averages, tuned.vae.parameters(), strict=True):
        assert torch.equal(average, weight)
    again = tuning(small_root, config.output / "model", small_stages)
    assert DecoderTask(again, validation).validate([0])["score"][0] < score_before


def test_inputs_of_another_prompt_are_refused(
    small_root: Path, stage_two: Path, small_stages: ModuleType
) -> None:
    config = tuning(small_root, stage_two, small_stages)
    data = config.data.model_copy(update={"prompt_features": ["buildings", "transmitter"]})
    wrong = config.model_copy(update={"data": data})
    with pytest.raises(InputError, match=r"prompt_features: found buildings, transmitter; .* with"):
        train_stage(wrong, DecoderTask, resume=False)
    assert not wrong.output.exists()


def test_decoder_and_correction_learn_together(
    small_root: Path, small_stages: ModuleType, tmp_path: Path
) -> None:
    features = ("buildings", "transmitter", "path_loss_model")
    data = {
        "root": small_root,
        "split": "explicit",
        "maps": {"train": [1, 2], "val": [3]},
        "prompt_features": features,
        "prompt_cache": tmp_path / "cache",
    }
    train = small_stages.TRAIN | {"steps": 2, "validate_every": 2}
    second = small_stages.experiment(
        "ldm", small_root, tmp_path / "ldm", train=train, zero_buildings=True, data=data
    )
    train_stage(second, LDMTask, resume=False)
    stage_two = tmp_path / "ldm" / "model"
    config = tuning(
        small_root,
        stage_two,
        small_stages,
        data=data,
        correction={"width": 8, "blocks": 1, "initial_gate": 0.2},
    )
    validation = build_dataset(config.data, "val")
    (before,) = DecoderTask(config, validation).validate([0])["score"]
    train_stage(config, DecoderTask, resume=False)
    tuned = RadioDiffPipeline.from_pretrained(config.output / "model")
    assert tuned.correction is not None
    assert all(torch.any(p != 0) for p in tuned.correction.head.parameters())
    given = RadioDiffPipeline.from_pretrained(stage_two)
    changed = [
        not torch.equal(a, b)
        for a, b in zip(given.vae.decoder.parameters(), tuned.vae.decoder.parameters(), strict=True)
    ]
    assert any(changed)
    for name, value in given.denoiser.state_dict().items():
        assert torch.equal(tuned.denoiser.state_dict()[name], value), name
    again = tuning(small_root, config.output / "model", small_stages, data=data)
    (after,) = DecoderTask(again, validation).validate([0])["score"]
    assert after < before
    with pytest.raises(InputError, match="correction: the pipeline has one already"):
        DecoderTask(again.model_copy(update={"correction": config.correction}), validation)
