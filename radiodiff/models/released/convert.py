"""Weights of public implementations, brought into our modules.

================  ==========================================================================
format            made by
================  ==========================================================================
radiodiff-vae     github.com/UNIC-Lab/RadioDiff, first stage
radiodiff-ldm     the same, second stage: U-Net, and mostly the first stage beside it
guided-diffusion  github.com/openai/guided-diffusion, unconditional, ``resblock_updown``
radiounet         github.com/RonLevie/RadioUNet
================  ==========================================================================

Each function takes a flat state dict or a checkpoint around one (:func:`released_weights`), reads
every size from the keys and shapes, and accounts for every key: one that is unknown, missing or of
another shape is listed in the error. What a checkpoint holds and our networks do not need is named
in ``UNUSED`` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from diffusers import AutoencoderKL, UNet2DModel
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.baselines.radiounet import RadioUNet
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.released.key_maps import (
    RADIOUNET_ENCODER,
    prior_modules,
    radiounet_modules,
    rename,
    unet_modules,
    vae_modules,
)
from radiodiff.models.settings import PromptEncoder

UNUSED: Mapping[str, str] = {
    r"init_conv_carK\.": "1 x 1 convolution from 5 to 3 prompt channels; unused with 3",
    r"init_conv_mask\..*relative_position_index$": "follows from the window size",
    r"(loss|loss_pinn|loss_pinn_dpm2irt4)\.": "LPIPS and discriminators of the VAE's training",
    r"(betas|(sqrt_)?alphas_cumprod(_prev)?|sqrt_one_minus_alphas_cumprod"
    r"|log_one_minus_alphas_cumprod|sqrt_recip(m1)?_alphas_cumprod|posterior_variance"
    r"|posterior_log_variance_clipped|posterior_mean_coef[12]|p2_loss_weight)$": (
        "DDPM schedule of the base class; the decoupled process has none"
    ),
    r"scale_factor$": "read as the scale of the latents",
}
"""Patterns of released keys that have no counterpart in our networks, and why."""

LISTED_KEYS = 20
"""An error lists this many keys of a kind and counts the rest."""

ModelT = TypeVar("ModelT", bound=nn.Module)


def released_weights(checkpoint: Mapping[str, Any], ema: bool = True) -> dict[str, Tensor]:
    """Return the flat state dict inside a released checkpoint.

    Args:
        checkpoint: holds ``ema`` (keys prefixed ``ema_model.``), ``model`` or ``state_dict``, or is
            the state dict itself.
        ema: whether the averaged weights are taken where there are any.

    Raises:
        InputError: there is no tensor in it, or something else than tensors.
    """
    weights: Mapping[str, Any] = checkpoint
    if ema and "ema" in checkpoint:
        prefix = "ema_model."
        averaged = checkpoint["ema"].items()
        weights = {key[len(prefix) :]: value for key, value in averaged if key.startswith(prefix)}
    elif isinstance(checkpoint.get("model"), Mapping):
        weights = checkpoint["model"]
    elif isinstance(checkpoint.get("state_dict"), Mapping):
        weights = checkpoint["state_dict"]
    other = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    if other or not weights:
        raise InputError(f"checkpoint: expected tensors, found {_list(other) or 'none'}")
    return dict(weights)


def unet_from_radiodiff(
    state_dict: Mapping[str, Any],
    window_sizes: Sequence[int] = (8, 4, 2, 1),
    prompt_channels: int = 3,
) -> DecoupledUNet:
    """Convert the released denoiser, alone or inside a second-stage checkpoint.

    Args:
        state_dict: released weights.
        window_sizes: averaging windows of the condition attention, of which keys tell nothing.
        prompt_channels: 3, or 5 for weights trained with ``DPMCARK: True``.

    Returns:
        The network in evaluation mode, float32.

    Raises:
        InputError: unknown, missing or mis-shaped keys, each listed.
    """
    what = "RadioDiff U-Net"
    weights = _component(released_weights(state_dict), "model.")
    dim = _size(weights, "init_conv.0.weight", 0, what)
    latent_channels = _size(weights, "final_conv2.weight", 0, what)
    levels = _count(weights, r"downs\.(\d+)\.")
    widths = [_size(weights, f"downs.{level}.3.weight", 0, what) for level in range(levels)]
    heads = _size(weights, "final_conv.weight", 0, what)
    transfer = weights.get("decouple1.2.complex_weight")
    if transfer is not None and transfer.ndim != 4:
        raise InputError(f"{what}: mis-shaped: decouple1.2.complex_weight {_shape(transfer)}")
    if any(width % dim for width in widths):
        raise InputError(
            f"{what}: mis-shaped: downs.*.3.weight have {widths} channels, which must be multiples "
            f"of those of init_conv.0.weight, {dim}"
        )
    model = _build(
        what,
        DecoupledUNet,
        latent_channels=latent_channels,
        dim=dim,
        dim_mults=tuple(width // dim for width in widths),
        prompt_channels=prompt_channels,
        prompt_encoder=_swin_variant(weights, what),
        window_sizes=tuple(window_sizes),
        filter_size=(
            (transfer.shape[1], 2 * (transfer.shape[2] - 1)) if transfer is not None else (8, 8)
        ),
        aft=transfer is not None,
        attenuation="linear" if heads == 2 * latent_channels else "constant",
    )
    return _load(model, weights, unet_modules(levels), what)


def vae_from_radiodiff(state_dict: Mapping[str, Any], latent_scale: float = 0.3) -> AutoencoderKL:
    """Convert the released autoencoder, alone or inside a second-stage checkpoint.

    Args:
        state_dict: released weights.
        latent_scale: factor from latents to the diffusion's scale, used where the checkpoint has no
            ``scale_factor``; stored as ``config.scaling_factor``.

    Returns:
        The network in evaluation mode, float32.

    Raises:
        InputError: unknown, missing or mis-shaped keys, each listed.
    """
    what = "RadioDiff VAE"
    released = released_weights(state_dict)
    if "scale_factor" in released:
        latent_scale = released["scale_factor"].item()
    weights = _component(released, "first_stage_model.")
    levels = _count(weights, r"encoder\.down\.(\d+)\.")
    blocks = _count(weights, r"encoder\.down\.0\.block\.(\d+)\.")
    model = _build(
        what,
        AutoencoderKL,
        in_channels=_size(weights, "encoder.conv_in.weight", 1, what),
        out_channels=_size(weights, "decoder.conv_out.weight", 0, what),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(
            _size(weights, f"encoder.down.{level}.block.0.conv1.weight", 0, what)
            for level in range(levels)
        ),
        layers_per_block=blocks,
        latent_channels=_size(weights, "post_quant_conv.weight", 1, what),
        mid_block_add_attention="encoder.mid.attn_1.q.weight" in weights,
        scaling_factor=latent_scale,
    )
    return _load(model, weights, vae_modules(levels, blocks), what)


def prior_from_guided_diffusion(
    state_dict: Mapping[str, Any], attention_head_dim: int = 64
) -> UNet2DModel:
    """Convert an unconditional network of guided-diffusion.

    Args:
        state_dict: released weights of a model with ``resblock_updown`` and the first ("legacy")
            order of q, k and v, such as ``256x256_diffusion_uncond.pt``.
        attention_head_dim: channels per head, of which keys tell nothing (``num_head_channels``
            there).

    Returns:
        The network in evaluation mode, float32. Its output holds the noise and, where the weights
        learned the variance, as many channels again for it.

    Raises:
        InputError: unknown, missing or mis-shaped keys, each listed.
    """
    what = "guided-diffusion U-Net"
    weights = released_weights(state_dict)
    # A resolution change shows in the decoder only: a residual block after the first.
    levels = 1 + sum(
        re.fullmatch(r"output_blocks\.\d+\.[12]\.in_layers\.0\.weight", key) is not None
        for key in weights
    )
    blocks = _count(weights, r"input_blocks\.(\d+)\.") // levels - 1
    first = [1 + level * (blocks + 1) for level in range(levels)]
    attention = [f"input_blocks.{block}.1.norm.weight" in weights for block in first]
    widths = [
        _size(weights, f"input_blocks.{block}.0.out_layers.0.weight", 0, what) for block in first
    ]
    modulated = _size(weights, "input_blocks.1.0.emb_layers.1.weight", 0, what) == 2 * widths[0]
    attending = [*attention[:-1], True]  # the middle block always has attention
    unfit = [w for w, a in zip(widths, attending, strict=True) if a and w % attention_head_dim]
    if unfit:
        raise InputError(
            f"{what}: attention_head_dim: found {attention_head_dim}, it must divide {unfit}"
        )
    model = _build(
        what,
        UNet2DModel,
        in_channels=_size(weights, "input_blocks.0.0.weight", 1, what),
        out_channels=_size(weights, "out.2.weight", 0, what),
        layers_per_block=blocks,
        block_out_channels=tuple(widths),
        down_block_types=tuple(
            "AttnDownBlock2D" if attends else "ResnetDownsampleBlock2D" for attends in attention
        ),
        up_block_types=tuple(
            "AttnUpBlock2D" if attends else "ResnetUpsampleBlock2D"
            for attends in reversed(attention)
        ),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift" if modulated else "default",
        attn_norm_num_groups=32,
        attention_head_dim=attention_head_dim,
        freq_shift=0,
        flip_sin_to_cos=True,
    )
    weights = _split_qkv(weights, attention_head_dim, what)
    return _load(model, weights, prior_modules(attention, blocks), what)


def radiounet_from_authors(state_dict: Mapping[str, Any]) -> RadioUNet:
    """Convert the authors' RadioWNet: both U-Nets.

    Args:
        state_dict: the authors' weights.

    Returns:
        The network in evaluation mode, float32.

    Raises:
        InputError: unknown, missing or mis-shaped keys, each listed.
    """
    what = "RadioUNet"
    weights = released_weights(state_dict)
    model = _build(
        what,
        RadioUNet,
        in_channels=_size(weights, "layer00.0.weight", 1, what),
        first_widths=tuple(
            _size(weights, f"{name}.0.weight", 0, what) for name in RADIOUNET_ENCODER
        ),
        second_widths=tuple(
            _size(weights, f"W{name}.0.weight", 0, what) for name in RADIOUNET_ENCODER
        ),
        head_widths=tuple(
            _size(weights, f"{prefix}conv_up00.0.weight", 0, what) for prefix in ("", "W")
        ),
    )
    return _load(model, weights, radiounet_modules(), what)


_SWIN_VARIANTS: Mapping[tuple[int, int], PromptEncoder] = {
    (96, 6): "swin_t",
    (96, 18): "swin_s",
    (128, 18): "swin_b",
}
"""First width and blocks of the third stage of torchvision's Swin Transformers."""


def _swin_variant(weights: Mapping[str, Tensor], what: str) -> PromptEncoder:
    patches = "init_conv_mask.first_coonv.0.weight"
    width = _size(weights, patches, 0, what)
    depth = _count(weights, r"init_conv_mask\.features\.4\.(\d+)\.")
    if (width, depth) not in _SWIN_VARIANTS:
        raise InputError(
            f"{what}: no Swin Transformer of torchvision has {width} channels in {patches} and "
            f"{depth} blocks in init_conv_mask.features.4 (known: {sorted(_SWIN_VARIANTS)})"
        )
    return _SWIN_VARIANTS[width, depth]


def _component(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return one network of a second-stage checkpoint; other state dicts are returned whole."""
    networks = ("model.", "first_stage_model.")
    if not any(key.startswith(networks) for key in weights):
        return dict(weights)
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in weights.items()
        if key.startswith(prefix) or not key.startswith(networks)
    }


def _split_qkv(weights: Mapping[str, Tensor], head_dim: int, what: str) -> dict[str, Tensor]:
    """Split the convolution of q, k and v, which are interleaved head by head, into three."""
    split = {}
    for key, tensor in weights.items():
        path, _, leaf = key.rpartition(".")
        if not path.endswith(".qkv"):
            split[key] = tensor
            continue
        if tensor.shape[0] % (3 * head_dim):
            raise InputError(
                f"{what}: mis-shaped: {key} {_shape(tensor)}, the first size must be a multiple of "
                f"3 x {head_dim}"
            )
        heads = tensor.reshape(-1, 3, head_dim, *tensor.shape[1:])
        for index, name in enumerate("qkv"):
            split[f"{path}.{name}.{leaf}"] = heads[:, index].flatten(0, 1)
    return split


def _size(weights: Mapping[str, Tensor], key: str, axis: int, what: str) -> int:
    if key not in weights:
        raise InputError(f"{what}: missing: {key}")
    if weights[key].ndim <= axis:
        raise InputError(f"{what}: mis-shaped: {key} {_shape(weights[key])}")
    return weights[key].shape[axis]


def _count(weights: Iterable[str], pattern: str) -> int:
    """Return one more than the largest index the pattern finds at the start of a key."""
    found = (re.match(pattern, key) for key in weights)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _build(what: str, network: Callable[..., ModelT], **sizes: Any) -> ModelT:
    try:
        return network(**sizes)
    except (ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{what}: the sizes read from the keys fit no network: {error}") from None


def _load(
    model: ModelT, weights: Mapping[str, Tensor], modules: Mapping[str, str], what: str
) -> ModelT:
    """Copy every tensor into the model under its own name, and account for every key."""
    state_dict = model.state_dict()
    needed = {
        rename(key, modules): key
        for key in state_dict
        if not key.endswith("relative_position_index")  # our own, see UNUSED
    }
    missing, misshaped = [], []
    for theirs, ours in needed.items():
        target = state_dict[ours]
        if theirs not in weights:
            missing.append(theirs)
        elif not _same_shape(weights[theirs], target):
            misshaped.append(f"{theirs} {_shape(weights[theirs])} for {_shape(target)}")
        else:
            state_dict[ours] = weights[theirs].reshape(target.shape)
    unknown = [key for key in weights if key not in needed and not _unused(key)]
    problems = {"unknown": unknown, "missing": missing, "mis-shaped": misshaped}
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_list(keys)}" for kind, keys in problems.items() if keys)
        raise InputError(f"{what}: {listed}")
    model.load_state_dict(state_dict)
    return model.eval()


def _unused(key: str) -> bool:
    return any(re.match(pattern, key) for pattern in UNUSED)


def _same_shape(tensor: Tensor, target: Tensor) -> bool:
    """Compare shapes up to axes of length 1: a 1 x 1 convolution is a linear layer."""
    return [n for n in tensor.shape if n != 1] == [n for n in target.shape if n != 1]


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)}"


def _list(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - LISTED_KEYS} more" if len(keys) > LISTED_KEYS else ""
    return ", ".join(keys[:LISTED_KEYS]) + more
