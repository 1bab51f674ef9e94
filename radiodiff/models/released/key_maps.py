"""Names: the module paths of our networks against those of public implementations.

Every function returns a dict from a path in our network to the path in the released one. A key is
renamed by the longest path that begins it; what follows is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Modules = dict[str, str]

_RESIDUAL = {
    "conv1": "block1.proj",
    "norm1": "block1.norm",
    "conv2": "block2.proj",
    "norm2": "block2.norm",
    "modulation": "mlp.1",
    "shortcut": "res_conv",
}
_LINEAR_ATTENTION = {
    "norm.weight": "fn.norm.g",
    "qkv": "fn.fn.to_qkv",
    "out": "fn.fn.to_out.0",
    "out_norm.weight": "fn.fn.to_out.1.g",
}
_BOTTLENECK_ATTENTION = {
    "norm.weight": "fn.norm.g",
    "qkv": "fn.fn.to_qkv",
    "out": "fn.fn.to_out",
}
_CONDITION = {
    "prompt_conv": "input_conv1.0",
    "prompt_norm": "input_conv1.1",
    "feature_conv": "input_conv2.0",
    "feature_norm": "input_conv2.1",
    "query": "attentions.0.q_lin",
    "key": "attentions.0.k_lin",
    "value": "attentions.0.v_lin",
    "mlp_in": "attentions.0.mlp.fc1",
    "mlp_out": "attentions.0.mlp.fc2",
    "merge": "attentions.0.concat_conv",
    "merge_norm": "attentions.0.gn",
    "out": "attentions.0.out_conv",
}
_FILTER = {"norm": "0", "conv": "1", "weight": "2.complex_weight"}

_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}

_PRIOR_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_PRIOR_ATTENTION = {
    "group_norm": "norm",
    "to_q": "qkv.q",
    "to_k": "qkv.k",
    "to_v": "qkv.v",
    "to_out.0": "proj_out",
}

RADIOUNET_ENCODER = (
    *("layer00", "layer0", "layer1", "layer10", "layer2"),
    *("layer20", "layer3", "layer4", "layer5"),
)
_RADIOUNET_DECODER = (
    *("conv_up5", "conv_up4", "conv_up3", "conv_up20"),
    *("conv_up2", "conv_up10", "conv_up1", "conv_up0"),
)


def rename(key: str, modules: Mapping[str, str]) -> str:
    """Return the released name of a key of ours."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        path = ".".join(parts[:length])
        if path in modules:
            return ".".join([modules[path], *parts[length:]])
    return key


def unet_modules(levels: int) -> Modules:
    """Return the names of ``DecoupledUNet`` in RadioDiff's ``Unet``."""
    modules = {
        "pyramid.adapter": "init_conv_carK",
        "pyramid.backbone": "init_conv_mask",
        "pyramid.backbone.features.0": "init_conv_mask.first_coonv",
        "prompt_projections": "projects",
        "stem": "init_conv.0",
        "stem_norm": "init_conv.1",
        "time_features.frequency": "time_mlp.0.W",
        "time_mlp.0": "time_mlp.1",
        "time_mlp.2": "time_mlp.3",
    }
    # torchvision counts the patch embedding among the features, the released Swin does not.
    modules |= {
        f"pyramid.backbone.features.{index}": f"init_conv_mask.features.{index - 1}"
        for index in range(1, 8)
    }
    for level in range(levels):
        modules |= _unet_level(
            f"encoder.{level}", f"downs.{level}", f"relation_layers_down.{level}"
        )
        modules[f"encoder.{level}.down"] = f"downs.{level}.3"
    modules |= _join("middle_block1", "mid_block1", _RESIDUAL)
    modules |= _join("middle_attention", "mid_attn", _BOTTLENECK_ATTENTION)
    modules |= _join("middle_block2", "mid_block2", _RESIDUAL)
    for decoder, filter_, suffix in (
        ("decoder_attenuation", "decouple1", ""),
        ("decoder_noise", "decouple2", "2"),
    ):
        modules |= _join(f"{decoder}.filter", filter_, _FILTER)
        for index in range(levels):
            ups, relation = f"ups{suffix}.{index}", f"relation_layers_up{suffix}.{index}"
            modules |= _unet_level(f"{decoder}.levels.{index}", ups, relation)
            # All but the finest scale upsample first, as the first of two layers.
            last = index == levels - 1
            modules[f"{decoder}.levels.{index}.conv"] = f"{ups}.3" if last else f"{ups}.3.1"
        modules |= _join(f"{decoder}.block", f"final_res_block{suffix}", _RESIDUAL)
        modules[f"{decoder}.out"] = f"final_conv{suffix}"
    return modules


def vae_modules(levels: int, blocks: int) -> Modules:
    """Return the names of diffusers' ``AutoencoderKL`` in RadioDiff's."""
    modules: Modules = {}
    for level in range(levels):
        encoder = (f"encoder.down_blocks.{level}", f"encoder.down.{level}")
        # The released decoder numbers its scales from fine to coarse.
        decoder = (f"decoder.up_blocks.{levels - 1 - level}", f"decoder.up.{level}")
        for (ours, theirs), count in ((encoder, blocks), (decoder, blocks + 1)):
            for block in range(count):
                modules |= _vae_resnet(f"{ours}.resnets.{block}", f"{theirs}.block.{block}")
        modules[f"{encoder[0]}.downsamplers.0"] = f"{encoder[1]}.downsample"
        modules[f"{decoder[0]}.upsamplers.0"] = f"{decoder[1]}.upsample"
    for side in ("encoder", "decoder"):
        for block in range(2):
            modules |= _vae_resnet(
                f"{side}.mid_block.resnets.{block}", f"{side}.mid.block_{block + 1}"
            )
        modules |= _join(f"{side}.mid_block.attentions.0", f"{side}.mid.attn_1", _VAE_ATTENTION)
        modules[f"{side}.conv_norm_out"] = f"{side}.norm_out"
    return modules


def prior_modules(attention: Sequence[bool], blocks: int) -> Modules:
    """Return the names of diffusers' ``UNet2DModel`` in guided-diffusion's ``UNetModel``.

    Args:
        attention: whether each scale, from fine to coarse, has attention.
        blocks: residual blocks per encoder scale.
    """
    modules = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for ours, theirs in (("resnets.0", "0"), ("resnets.1", "2")):
        modules |= _join(f"mid_block.{ours}", f"middle_block.{theirs}", _PRIOR_RESNET)
    modules |= _join("mid_block.attentions.0", "middle_block.1", _PRIOR_ATTENTION)
    for level, attends in enumerate(attention):
        first = 1 + level * (blocks + 1)
        paths = [f"input_blocks.{first + block}" for block in range(blocks)]
        modules |= _prior_level(f"down_blocks.{level}", paths, attends)
        modules |= _join(
            f"down_blocks.{level}.downsamplers.0",
            f"input_blocks.{first + blocks}.0",
            _PRIOR_RESNET,
        )
    for level, attends in enumerate(reversed(attention)):
        paths = [f"output_blocks.{level * (blocks + 1) + block}" for block in range(blocks + 1)]
        modules |= _prior_level(f"up_blocks.{level}", paths, attends)
        modules |= _join(
            f"up_blocks.{level}.upsamplers.0",
            f"{paths[-1]}.{2 if attends else 1}",
            _PRIOR_RESNET,
        )
    return modules


def radiounet_modules() -> Modules:
    """Return the names of ``RadioUNet`` in the authors' ``RadioWNet``."""
    modules: Modules = {}
    for unet, prefix in (("first", ""), ("second", "W")):
        for part, names in (("encoder", RADIOUNET_ENCODER), ("decoder", _RADIOUNET_DECODER)):
            modules |= {f"{unet}.{part}.{index}": prefix + name for index, name in enumerate(names)}
        modules[f"{unet}.head"] = f"{prefix}conv_up00.0"
        modules[f"{unet}.out"] = f"{prefix}conv_up000.0"
    return modules


def _unet_level(ours: str, theirs: str, relation: str) -> Modules:
    return {
        **_join(f"{ours}.block1", f"{theirs}.0", _RESIDUAL),
        **_join(f"{ours}.block2", f"{theirs}.1", _RESIDUAL),
        **_join(f"{ours}.attention", f"{theirs}.2", _LINEAR_ATTENTION),
        **_join(f"{ours}.condition", relation, _CONDITION),
    }


def _vae_resnet(ours: str, theirs: str) -> Modules:
    return {ours: theirs, f"{ours}.conv_shortcut": f"{theirs}.nin_shortcut"}


def _prior_level(ours: str, paths: Sequence[str], attends: bool) -> Modules:
    modules: Modules = {}
    for block, path in enumerate(paths):
        modules |= _join(f"{ours}.resnets.{block}", f"{path}.0", _PRIOR_RESNET)
        if attends:
            modules |= _join(f"{ours}.attentions.{block}", f"{path}.1", _PRIOR_ATTENTION)
    return modules


def _join(ours: str, theirs: str, names: Mapping[str, str]) -> Modules:
    return {f"{ours}.{mine}": f"{theirs}.{released}" for mine, released in names.items()}
