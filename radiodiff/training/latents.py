"""Latents of the maps: encoded on the fly, or once, into one memory-mapped array.

``scripts/encode_latents.py`` writes a folder with ``latents.npy``, float16 of shape (maps,
variants, c, h, w), and ``manifest.json``, which says of which autoencoder and which maps they are.
An autoencoder does not turn its latents when the map turns, so with ``augmented`` all eight flips
and quarter turns of a map are encoded, and augmentation takes the one that matches the prompt.

Latents are stored without their scale. float16 keeps 11 significant bits: a latent is off by at
most 1/2048 of itself, four times less than what bfloat16 rounds away when it is encoded.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from radiodiff.cli import open_run_directory
from radiodiff.data.radiomapseer import RadioMapSeer, build_dataset
from radiodiff.errors import InputError
from radiodiff.files import write_json
from radiodiff.models.padding import pad_to_multiple
from radiodiff.training.scoring import batches
from radiodiff.training.settings import EncodeConfig
from radiodiff.training.stream import Item, dihedral
from radiodiff.weight_sources import find_weights

ARRAY = "latents.npy"
MANIFEST = "manifest.json"
VARIANTS = 8
MAY_DIFFER = ("batch_size", "data.root", "data.cache", "data.prompt_cache")
"""Settings that no latent depends on: which maps are encoded is compared by their content."""
FLUSH_EVERY = 16
"""Batches between two notes of how far the encoding is."""


@torch.no_grad()
def encode(vae: AutoencoderKL, gain: Tensor) -> Tensor:
    """Return latents (N, c, h, w) of maps (N, 1, H, W), unscaled: the mean of the posterior.

    Maps whose sides the autoencoder cannot halve are extended (:mod:`radiodiff.models.padding`).

    With the paper's KL weight of 1e-6 the posterior is so narrow that its mean and a sample differ
    by far less than the diffusion's smallest noise.
    """
    mean: Tensor = vae.encode(pad_to_multiple(gain, latent_stride(vae))).latent_dist.mean
    return mean


def load_vae(path: Path) -> AutoencoderKL:
    """Load what stage one exported.

    Raises:
        InputError: the folder is missing or holds something else.
    """
    path = find_weights(path)
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: no autoencoder there; train one with scripts/train_vae.py first")
    try:
        return AutoencoderKL.from_pretrained(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not an autoencoder ({str(error).splitlines()[0]})") from error


def latent_shape(vae: AutoencoderKL, size: Sequence[int]) -> tuple[int, int, int]:
    """Return (c, h, w) of the latents of a map of ``size`` (H, W)."""
    stride = latent_stride(vae)
    return vae.config.latent_channels, -(-size[0] // stride), -(-size[1] // stride)


def latent_stride(vae: AutoencoderKL) -> int:
    """Return how many pixels of the map are one of the latents."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


@torch.inference_mode()
def measure_latent_scale(vae: AutoencoderKL, maps: RadioMapSeer, count: int) -> float:
    """Return one over the standard deviation of the latents of the first ``count`` maps."""
    latents = [encode(vae, batch["gain"]) for batch in batches(maps, range(count), vae.device)]
    return round(1.0 / torch.cat(latents).std().item(), 6)


def encode_dataset(config: EncodeConfig, device: torch.device) -> Path:
    """Encode the maps that are not encoded yet; return the folder.

    The array is complete when it has its name; until then it is ``latents.npy.partial``.

    Raises:
        InputError: autoencoder or maps are missing or do not fit each other, maps that are not
            square are to be turned, or a latent is too large for float16.
    """
    vae = load_vae(config.vae).to(device, memory_format=torch.channels_last).eval()
    maps = build_dataset(config.data, config.part)
    variants = VARIANTS if config.augmented else 1
    if config.augmented and maps.shape[0] != maps.shape[1]:
        raise InputError(
            f"augmented: maps of {maps.shape[0]} x {maps.shape[1]} cannot be turned by 90 degrees; "
            "set it to false"
        )
    directory = open_run_directory(config.output, config, MAY_DIFFER)
    array = directory / ARRAY
    shape = (len(maps), variants, *latent_shape(vae, maps.shape))
    identity = _identity(maps, config.vae)
    if (directory / MANIFEST).is_file():
        _check_identity(directory, _read_manifest(directory), identity)
        return directory
    partial, progress = array.with_name(ARRAY + ".partial"), directory / "progress.json"
    notes = _earlier_progress(partial, progress, identity)
    stored = np.lib.format.open_memmap(
        partial, mode="r+" if notes["checksums"] else "w+", dtype=np.float16, shape=shape
    )
    with tqdm(total=len(maps), initial=len(notes["checksums"]), unit="map", desc="encode") as bar:
        for number, (first, latents, checksums) in enumerate(
            _encoded(vae, maps, config, variants, len(notes["checksums"])), start=1
        ):
            stored[first : first + len(latents)] = latents
            notes["checksums"] += checksums
            if number % FLUSH_EVERY == 0:
                stored.flush()
                write_json(progress, notes)
            bar.update(len(latents))
    stored.flush()
    partial.replace(array)
    write_json(directory / MANIFEST, notes)
    progress.unlink(missing_ok=True)
    return directory


def _encoded(
    vae: AutoencoderKL, maps: RadioMapSeer, config: EncodeConfig, variants: int, first: int
) -> Iterator[tuple[int, np.ndarray, list[int]]]:
    """Yield (index, latents (n, variants, c, h, w), checksums) from map ``first`` on."""
    together = max(1, config.batch_size // variants)
    autocast = torch.autocast(vae.device.type, torch.bfloat16, enabled=config.precision == "bf16")
    for start in range(first, len(maps), together):
        chosen = range(start, min(start + together, len(maps)))
        gain = torch.stack([maps[index]["gain"] for index in chosen])
        images = torch.stack([dihedral(gain, element) for element in range(variants)], dim=1)
        with autocast:
            latents = [
                encode(vae, part.to(vae.device, memory_format=torch.channels_last)).half().cpu()
                for part in images.flatten(0, 1).split(config.batch_size)
            ]
        stacked = torch.cat(latents).unflatten(0, (len(chosen), variants))
        if not stacked.isfinite().all():
            raise InputError(
                f"{config.vae}: a latent of map {maps.name(start)} or of the ones after it is not "
                "finite in float16; train the autoencoder with a larger loss.kl_weight"
            )
        yield start, stacked.numpy(), [_checksum(maps, index) for index in chosen]


class LatentMaps:
    """Maps with their stored latents under ``latent``, (variants, c, h, w) float16.

    Args:
        maps: the maps that stage two trains on.
        directory: what ``scripts/encode_latents.py`` wrote of them.
        vae: the autoencoder that decodes.
        augmented: whether all eight variants are needed.

    Raises:
        InputError: the folder is missing or incomplete, holds latents of another autoencoder or of
            other maps, or lacks the variants. An item raises it if its map has changed.
    """

    def __init__(self, maps: RadioMapSeer, directory: Path, vae: Path, augmented: bool) -> None:
        self._maps = maps
        self._directory = directory
        manifest = _read_manifest(directory)
        _check_identity(directory, manifest, _identity(maps, vae))
        self._checksums: list[int] = manifest["checksums"]
        self._checked: set[int] = set()
        stored = np.load(directory / ARRAY, mmap_mode="r").shape[1]
        if augmented and stored < VARIANTS:
            raise InputError(
                f"{directory}: holds the maps as they are, train.augment needs their turned and "
                "flipped variants; encode them again with augmented=true"
            )
        self._check_map(0)

    @cached_property
    def _array(self) -> np.ndarray:
        """The stored latents, opened by the process that reads them."""
        array: np.ndarray = np.load(self._directory / ARRAY, mmap_mode="r")
        return array

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> Item:
        self._check_map(index)
        return {**self._maps[index], "latent": self._array[index]}

    def _check_map(self, index: int) -> None:
        """Compare a map with what was encoded, once: it is decoded a second time for that."""
        if index in self._checked:
            return
        self._checked.add(index)
        if _checksum(self._maps, index) != self._checksums[index]:
            raise InputError(
                f"{self._directory}: map {self._maps.name(index)} has changed since it was "
                "encoded; remove the folder and encode again"
            )


def _identity(maps: RadioMapSeer, vae: Path) -> dict[str, str]:
    """Return what latents depend on, but for the content of the maps (:func:`_checksum`)."""
    weights = hashlib.sha256()
    for file in sorted(find_weights(vae).glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            if name.startswith(("encoder.", "quant_conv.")):  # decoders may be tuned afterwards
                weights.update(name.encode() + tensor.view(torch.uint8).numpy().tobytes())
    names = "\n".join(maps.name(index) for index in range(len(maps)))
    return {
        "autoencoder": weights.hexdigest(),
        "maps": hashlib.sha256(names.encode()).hexdigest(),
        "threshold": maps.threshold,
    }


def _checksum(maps: RadioMapSeer, index: int) -> int:
    return zlib.crc32(np.ascontiguousarray(maps.levels(index)).data)


def _read_manifest(directory: Path) -> dict[str, Any]:
    file = directory / MANIFEST
    if not file.is_file():
        state = "are not complete" if directory.is_dir() else "do not exist"
        raise InputError(f"{directory}: the latents {state}; run scripts/encode_latents.py")
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return manifest


def _check_identity(directory: Path, manifest: dict[str, Any], identity: dict[str, str]) -> None:
    for name, value in identity.items():
        if manifest["of"][name] != value:
            raise InputError(
                f"{directory}: holds latents of another {name} than this run's; encode these into "
                "another folder with scripts/encode_latents.py"
            )


def _earlier_progress(partial: Path, progress: Path, identity: dict[str, str]) -> dict[str, Any]:
    """Return the notes of a run that was stopped, or those of one that begins."""
    if partial.is_file() and progress.is_file():
        notes: dict[str, Any] = json.loads(progress.read_text(encoding="utf-8"))
        if notes["of"] == identity:
            return notes
    return {"of": identity, "checksums": []}
