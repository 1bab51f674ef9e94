"""Equality with the public implementations, and an account of every key."""

import pickle

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DModel
from torch import Tensor, nn

from radiodiff.benchmarks.inverse import image_prior
from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.released import (
    prior_from_guided_diffusion,
    radiounet_from_authors,
    released_weights,
    unet_from_radiodiff,
    vae_from_radiodiff,
)
from radiodiff.models.released.key_maps import prior_modules, rename, unet_modules, vae_modules
from radiodiff.weights import read_checkpoint

TOLERANCE = 1e-4
"""Of the largest magnitude of the reference."""


def assert_equal(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < TOLERANCE * expected.abs().max()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# Equality with the reference --------------------------------------------------------------------


def test_unet_equals_the_released_one(load_reference):
    weights, arrays = load_reference("radiodiff_unet_dim32")
    denoiser = unet_from_radiodiff(weights)
    inner = {}
    hooks = [
        denoiser.middle_block2.register_forward_hook(
            lambda _, __, output: inner.update(mid=output[:, :8])
        ),
        denoiser.decoder_attenuation.filter.register_forward_hook(
            lambda _, args, output: inner.update(decouple1=(output - args[0])[:, :8])
        ),
    ]
    with torch.no_grad():
        features = denoiser.encode_prompt(arrays["cond"])
        attenuation, eps = denoiser(arrays["x"], arrays["t"], features)
    for hook in hooks:
        hook.remove()
    assert_equal(attenuation, arrays["C"])
    assert_equal(eps, arrays["eps"])
    assert_equal(inner["mid"], arrays["mid"])
    assert_equal(inner["decouple1"], arrays["decouple1"])
    for level in range(4):
        assert_equal(features[level][:, :4], arrays[f"cond_feature{level}"])


def test_vae_equals_the_released_one(load_reference):
    weights, arrays = load_reference("radiodiff_vae_ch32")
    vae = vae_from_radiodiff(weights)
    with torch.no_grad():
        posterior = vae.encode(arrays["x"]).latent_dist
        decoded = vae.decode(arrays["z"]).sample
    assert_equal(posterior.mean, arrays["mean"])
    assert_equal(posterior.logvar, arrays["logvar"])
    assert_equal(posterior.kl(), arrays["kl"])
    assert_equal(decoded, arrays["decoded"])


def test_prior_equals_guided_diffusion(load_reference):
    weights, arrays = load_reference("adm_unet_64_ch32")
    unet = prior_from_guided_diffusion(weights, attention_head_dim=32)
    with torch.no_grad():
        assert_equal(unet(arrays["x"], arrays["t"]).sample, arrays["out"])


def test_paper_size_of_the_prior():
    with torch.device("meta"):
        unet = image_prior()
        released = released_prior(unet, [False] * 3 + [True] * 3, blocks=2, head_dim=64)
        converted = prior_from_guided_diffusion(released)
    parameters = sum(parameter.numel() for parameter in converted.parameters())
    assert round(parameters / 1e6, 1) == 552.8
    assert converted.config.block_out_channels == (256, 256, 512, 512, 1024, 1024)


# Other sizes, by way of our own networks under the released names --------------------------------


def released_unet(denoiser: DecoupledUNet) -> dict[str, Tensor]:
    modules = unet_modules(len(denoiser.encoder))
    weights = {rename(key, modules): tensor for key, tensor in denoiser.state_dict().items()}
    return {
        key: tensor[None, :, None, None] if key.endswith(".g") else tensor
        for key, tensor in weights.items()
    }


def released_prior(
    unet: UNet2DModel, attention: list[bool], blocks: int, head_dim: int
) -> dict[str, Tensor]:
    modules = prior_modules(attention, blocks)
    weights = {rename(key, modules): tensor for key, tensor in unet.state_dict().items()}
    merged = {}
    for key, tensor in weights.items():
        if ".qkv." not in key:
            merged[key] = tensor[..., None] if ".proj_out.weight" in key else tensor
        elif ".qkv.q." in key:
            parts = [weights[key.replace(".q.", f".{part}.")] for part in "qkv"]
            heads = [part.reshape(-1, 1, head_dim, *part.shape[1:]) for part in parts]
            qkv = torch.cat(heads, dim=1).flatten(0, 2)
            merged[key.replace(".q.", ".")] = qkv[..., None] if qkv.ndim == 2 else qkv
    return merged


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


@pytest.fixture(scope="module")
def small_denoiser() -> DecoupledUNet:
    return randomise(
        DecoupledUNet(
            latent_channels=4,
            dim=16,
            dim_mults=(1, 3, 2, 4),
            prompt_encoder="swin_t",
            filter_size=(4, 6),
        )
    )


def test_unet_of_another_size(small_denoiser):
    released = released_unet(small_denoiser)
    converted = unet_from_radiodiff(released)
    assert tuple(converted.config.dim_mults) == (1, 3, 2, 4)
    assert converted.config.prompt_encoder == "swin_t"
    inputs = noise(1, 4, 32, 48), torch.tensor([0.4]), noise(1, 3, 128, 192)
    with torch.no_grad():
        for found, expected in zip(converted(*inputs), small_denoiser(*inputs), strict=True):
            torch.testing.assert_close(found, expected)


def test_unet_with_five_prompt_channels():
    denoiser = DecoupledUNet(dim=16, prompt_channels=5, prompt_encoder="swin_t")
    released = released_unet(denoiser)
    assert released["init_conv_carK.weight"].shape == (3, 5, 1, 1)
    converted = unet_from_radiodiff(released, prompt_channels=5)
    assert torch.equal(converted.pyramid.adapter.weight, denoiser.pyramid.adapter.weight)


def test_unet_without_filter_and_with_linear_attenuation():
    denoiser = DecoupledUNet(dim=16, prompt_encoder="swin_t", aft=False, attenuation="linear")
    converted = unet_from_radiodiff(released_unet(denoiser))
    assert not converted.config.aft
    assert converted.config.attenuation == "linear"


def small_vae() -> AutoencoderKL:
    return randomise(
        AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(32, 96),
            layers_per_block=1,
            latent_channels=5,
        )
    )


def released_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    modules = vae_modules(levels=2, blocks=1)
    weights = {rename(key, modules): tensor for key, tensor in vae.state_dict().items()}
    return {
        key: tensor[..., None, None] if ".attn_1." in key and tensor.ndim == 2 else tensor
        for key, tensor in weights.items()
    }


def test_vae_of_another_size():
    vae = small_vae()
    converted = vae_from_radiodiff(released_vae(vae))
    x = noise(1, 1, 16, 24)
    with torch.no_grad():
        found, expected = converted.encode(x).latent_dist.mode(), vae.encode(x).latent_dist.mode()
        assert torch.equal(found, expected)
        assert torch.equal(converted.decode(expected).sample, vae.decode(expected).sample)


def test_prior_of_another_size():
    unet = randomise(
        UNet2DModel(
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=(32, 64, 64),
            down_block_types=(
                "ResnetDownsampleBlock2D",
                "ResnetDownsampleBlock2D",
                "AttnDownBlock2D",
            ),
            up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
            downsample_type="resnet",
            upsample_type="resnet",
            resnet_time_scale_shift="scale_shift",
            attn_norm_num_groups=32,
            attention_head_dim=16,
        )
    )
    released = released_prior(unet, [False, False, True], blocks=1, head_dim=16)
    converted = prior_from_guided_diffusion(released, attention_head_dim=16)
    x, t = noise(1, 1, 16, 16), torch.tensor([10])
    with torch.no_grad():
        torch.testing.assert_close(converted(x, t).sample, unet(x, t).sample)
    with pytest.raises(InputError, match="attention_head_dim: found 24, it must divide"):
        prior_from_guided_diffusion(released, attention_head_dim=24)


# Layouts of checkpoints --------------------------------------------------------------------------


def test_layouts_of_a_first_stage(load_reference):
    weights, _ = load_reference("radiodiff_vae_ch32")
    training = {"loss.logvar": torch.zeros(()), "loss_pinn.discriminator.main.0.bias": noise(3)}
    averaged = {f"ema_model.{key}": 2 * tensor for key, tensor in weights.items()}
    averaged |= {f"online_model.{key}": tensor for key, tensor in weights.items()}
    averaged["initted"] = torch.tensor([True])
    name = "encoder.conv_in.weight"
    for checkpoint, factor in (
        ({"model": weights | training}, 1),
        ({"state_dict": weights}, 1),
        ({"model": weights, "ema": averaged, "step": 3, "scaler": None}, 2),
    ):
        vae = vae_from_radiodiff(checkpoint)
        assert torch.equal(vae.encoder.conv_in.weight, factor * weights[name])
    raw = released_weights({"model": weights, "ema": averaged}, ema=False)
    assert torch.equal(raw[name], weights[name])


def second_stage(denoiser: DecoupledUNet, vae: AutoencoderKL) -> dict[str, Tensor]:
    """The layout of the released latent diffusion: both networks, a schedule and the scale."""
    return {
        **{f"model.{key}": tensor for key, tensor in released_unet(denoiser).items()},
        **{f"first_stage_model.{key}": tensor for key, tensor in released_vae(vae).items()},
        "betas": torch.zeros(10),
        "posterior_mean_coef1": torch.zeros(10),
        "scale_factor": torch.tensor(0.25),
    }


def test_both_networks_of_a_second_stage(small_denoiser):
    vae = small_vae()
    checkpoint = {"model": second_stage(small_denoiser, vae), "step": 7}
    denoiser = unet_from_radiodiff(checkpoint)
    assert torch.equal(denoiser.stem.weight, small_denoiser.stem.weight)
    converted = vae_from_radiodiff(checkpoint)
    assert torch.equal(converted.quant_conv.weight, vae.quant_conv.weight)
    assert converted.config.scaling_factor == 0.25


def test_unknown_keys_beside_the_networks_are_listed(small_denoiser):
    checkpoint = second_stage(small_denoiser, small_vae()) | {"temperature": torch.zeros(())}
    for convert in (unet_from_radiodiff, vae_from_radiodiff):
        with pytest.raises(InputError, match="unknown: temperature"):
            convert(checkpoint)


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "convert", "key"),
    [
        ("radiodiff_vae_ch32", vae_from_radiodiff, "decoder.mid.attn_1.q.bias"),
        ("radiounet_inputs3", radiounet_from_authors, "Wconv_up10.0.bias"),
        (
            "adm_unet_64_ch32",
            lambda weights: prior_from_guided_diffusion(weights, 32),
            "output_blocks.5.2.out_layers.3.weight",
        ),
    ],
)
def test_every_key_is_accounted_for(load_reference, name, convert, key):
    weights = load_reference(name).state_dict
    with pytest.raises(InputError, match=f"missing: {key}$"):
        convert({other: tensor for other, tensor in weights.items() if other != key})
    with pytest.raises(InputError, match=f"mis-shaped: {key} "):
        convert(weights | {key: torch.cat((weights[key], weights[key]))})
    with pytest.raises(InputError, match=r"unknown: extra\.weight$"):
        convert(weights | {"extra.weight": weights[key]})
    renamed = {("renamed" if k == key else k): tensor for k, tensor in weights.items()}
    with pytest.raises(InputError, match=f"unknown: renamed; missing: {key}$"):
        convert(renamed)


def test_every_key_of_the_unet_is_accounted_for(small_denoiser):
    weights = released_unet(small_denoiser)
    key = "ups2.1.0.block2.proj.weight"
    with pytest.raises(InputError, match=f"unknown: renamed; missing: {key}$"):
        unet_from_radiodiff(
            {("renamed" if k == key else k): tensor for k, tensor in weights.items()}
        )
    with pytest.raises(InputError, match=f"mis-shaped: {key} "):
        unet_from_radiodiff(weights | {key: weights[key][:-1]})
    with pytest.raises(InputError, match=r"downs\.\*\.3\.weight have \[16, 40, 32, 64\] channels"):
        unet_from_radiodiff(weights | {"downs.1.3.weight": torch.zeros(40, 16, 4, 4)})
    patches = "init_conv_mask.first_coonv.0.weight"
    with pytest.raises(
        InputError, match=f"no Swin Transformer of torchvision has 80 channels in {patches}"
    ):
        unet_from_radiodiff(weights | {patches: weights[patches][:80]})


@pytest.mark.parametrize(
    "convert",
    [
        unet_from_radiodiff,
        vae_from_radiodiff,
        prior_from_guided_diffusion,
        radiounet_from_authors,
    ],
)
def test_something_else_is_refused(convert):
    with pytest.raises(InputError, match=r"missing|fit no network"):
        convert({"conv.weight": torch.zeros(3, 3)})
    with pytest.raises(InputError, match="expected tensors, found none"):
        convert({})
    with pytest.raises(InputError, match="expected tensors, found epoch"):
        convert({"conv.weight": torch.zeros(3), "epoch": 3})


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_pickles_that_hold_code_are_refused(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(3), "payload": _Payload()}, path)
    with pytest.raises(InputError, match="damaged, or holds more than tensors"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(InputError, match="damaged, or holds more than tensors"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.pt")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(InputError, match="expected a dict of tensors, found list"):
        read_checkpoint(tmp_path / "list.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="damaged, or holds more than tensors"):
        read_checkpoint(tmp_path / "broken.safetensors")
