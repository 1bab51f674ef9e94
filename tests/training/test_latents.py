import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from radiodiff.data.radiomapseer import build_dataset
from radiodiff.errors import InputError
from radiodiff.training import latents
from radiodiff.training.experiments import train_stage
from radiodiff.training.latents import LatentMaps, encode_dataset
from radiodiff.training.settings import EncodeConfig
from radiodiff.training.stream import SampleStream, StepSampler, dihedral, make_loader
from radiodiff.training.tasks import LDMTask

CPU = torch.device("cpu")


def configured(root: Path, output: Path, **changes: Any) -> EncodeConfig:
    values = {
        "output": output,
        "vae": root / "vae",
        "data": {"root": root, "split": "explicit", "maps": {"train": [1, 2], "val": [3]}},
        "augmented": True,
        "precision": "fp32",
        "batch_size": 8,
    }
    return EncodeConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def encoded(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_dataset(configured(small_root, tmp_path_factory.mktemp("latents")), CPU)


@pytest.mark.parametrize("batch_size", [3, 16])
def test_every_variant_of_every_map_is_stored(
    small_root: Path, tmp_path: Path, batch_size: int
) -> None:
    config = configured(small_root, tmp_path, batch_size=batch_size)
    stored = np.load(encode_dataset(config, CPU) / "latents.npy")
    maps = build_dataset(config.data, "train")
    vae = latents.load_vae(config.vae)
    assert stored.shape == (4, 8, 3, 8, 8)
    assert stored.dtype == np.float16
    for index in range(4):
        gain = torch.stack([dihedral(maps[index]["gain"], element) for element in range(8)])
        exact = latents.encode(vae, gain).numpy()
        # Half a unit in the last of 11 bits, and float32's own rounding.
        np.testing.assert_allclose(stored[index], exact, rtol=2**-11 + 1e-5, atol=1e-6)


def test_training_on_latents_is_training_on_maps(
    small_root: Path, encoded: Path, tmp_path: Path, small_stages: ModuleType
) -> None:
    curves = []
    for name, given in (("maps", None), ("latents", encoded)):
        train = small_stages.TRAIN | {"steps": 12, "batch_size": 4, "validate_every": 12}
        config = small_stages.experiment(
            "ldm", small_root, tmp_path / name, latents=given, train=train
        )
        assert config.train.augment
        train_stage(config, LDMTask, resume=False)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        curves.append(
            [v["diffusion/loss"] for v in map(json.loads, lines) if "diffusion/loss" in v]
        )
    assert len(curves[0]) == 12
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)
    assert curves[1] != curves[0]


def test_augmentation_takes_the_variant_that_matches_the_prompt(
    small_root: Path, encoded: Path
) -> None:
    config = configured(small_root, encoded)
    maps = build_dataset(config.data, "train")
    vae = latents.load_vae(config.vae)
    both = LatentMaps(maps, encoded, config.vae, augmented=True)
    fields = ("gain", "prompt", "latent")
    stream = SampleStream(both, fields, lambda item, generator: {}, seed=0, augment=True)
    turned = 0
    for position in range(12):
        sample = stream[position]
        exact = latents.encode(vae, sample["gain"][None])[0]
        torch.testing.assert_close(sample["latent"].float(), exact, rtol=1e-3, atol=1e-5)
        turned += not torch.equal(sample["gain"], maps[stream.map_index(position)]["gain"])
    assert turned > 6


def test_an_encoding_that_was_stopped_goes_on(
    small_root: Path, encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(small_root, tmp_path)
    seen: list[int] = []
    checksum = latents._checksum

    def fails_at_third(maps: Any, index: int) -> int:
        seen.append(index)
        if index == 2 and len(seen) == 3:
            raise KeyboardInterrupt
        return checksum(maps, index)

    monkeypatch.setattr(latents, "_checksum", fails_at_third)
    monkeypatch.setattr(latents, "FLUSH_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        encode_dataset(config, CPU)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.yaml",
        "latents.npy.partial",
        "progress.json",
    }
    with pytest.raises(InputError, match="not complete"):
        open_latents(small_root, tmp_path)
    encode_dataset(config, CPU)
    assert seen == [0, 1, 2, 2, 3]
    encode_dataset(config, CPU)  # complete: nothing is encoded again
    assert seen == [0, 1, 2, 2, 3]
    for name in ("latents.npy", "manifest.json"):
        assert (tmp_path / name).read_bytes() == (encoded / name).read_bytes()


def open_latents(tree: Path, directory: Path, vae: Path | None = None, **data: Any) -> LatentMaps:
    config = configured(tree, directory)
    maps = build_dataset(config.data.model_copy(update=data), "train")
    return LatentMaps(maps, directory, vae or config.vae, augmented=True)


def test_latents_of_something_else_are_refused(
    small_root: Path, encoded: Path, tmp_path: Path
) -> None:
    open_latents(small_root, encoded)
    vae = latents.load_vae(small_root / "vae")
    nn.init.zeros_(vae.decoder.conv_out.weight)
    vae.save_pretrained(tmp_path / "vae")
    open_latents(small_root, encoded, tmp_path / "vae")  # a decoder has no part in them
    nn.init.zeros_(vae.quant_conv.bias)
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(InputError, match="another autoencoder"):
        open_latents(small_root, encoded, tmp_path / "vae")
    with pytest.raises(InputError, match="another maps"):
        open_latents(small_root, encoded, maps={"train": (2, 1), "val": (3,)})
    with pytest.raises(InputError, match="another threshold"):
        open_latents(small_root, encoded, threshold="thr2")
    with pytest.raises(InputError, match=r"do not exist.*encode_latents"):
        open_latents(small_root, tmp_path / "nothing")
    plain = encode_dataset(configured(small_root, tmp_path / "plain", augmented=False), CPU)
    with pytest.raises(InputError, match="augmented=true"):
        open_latents(small_root, plain)


def test_a_map_that_changed_after_it_was_encoded_is_named(
    small_root: Path, encoded: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_root, tmp_path / "tree")
    image = tmp_path / "tree" / "gain" / "DPM" / "2_0.png"
    levels = np.asarray(Image.open(image)).copy()
    levels[levels > 0] -= 1
    Image.fromarray(levels).save(image)
    latent_maps = open_latents(tmp_path / "tree", encoded)
    assert latent_maps[1]["name"] == "1_1"
    with pytest.raises(InputError, match="map 2_0 has changed"):
        latent_maps[2]


def test_maps_that_cannot_be_turned_are_refused(
    tmp_path: Path, small_root: Path, write_radio_maps: Callable[..., Path]
) -> None:
    root = write_radio_maps(tmp_path / "tree", maps=(1, 2, 3), transmitters=1, shape=(16, 24))
    config = configured(root, tmp_path / "out", vae=small_root / "vae")
    with pytest.raises(InputError, match="16 x 24 cannot be turned"):
        encode_dataset(config, CPU)


def test_a_latent_too_large_for_float16_is_refused(small_root: Path, tmp_path: Path) -> None:
    vae = latents.load_vae(small_root / "vae")
    with torch.no_grad():
        vae.quant_conv.weight.mul_(1e6)
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(InputError, match="not finite in float16"):
        encode_dataset(configured(small_root, tmp_path / "out", vae=tmp_path / "vae"), CPU)


def test_workers_read_the_array_by_themselves(small_root: Path, encoded: Path) -> None:
    config = configured(small_root, encoded)
    maps = open_datasets_of(config)
    stream = SampleStream(maps, ("latent",), lambda item, generator: {}, seed=0, augment=True)
    sampler = StepSampler(0, 2, 4, 1, 0, 1)
    loader = make_loader(stream, sampler, num_workers=1, pin_memory=False)
    assert [batch["latent"].dtype for batch in loader] == [torch.float16] * 2
    assert "_array" not in vars(maps)


def open_datasets_of(config: EncodeConfig) -> LatentMaps:
    return LatentMaps(build_dataset(config.data, "train"), config.output, config.vae, True)
