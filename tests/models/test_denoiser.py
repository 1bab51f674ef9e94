import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.denoiser import DecoupledUNet

TINY = {
    "dim": 16,
    "dim_mults": (1, 2, 2),
    "window_sizes": (4, 2, 1),
    "filter_size": (4, 4),
    "prompt_encoder": "convolutional",
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tiny(**changes: object) -> DecoupledUNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DecoupledUNet(**(TINY | changes)).eval()


@pytest.fixture(scope="module")
def denoiser() -> DecoupledUNet:
    return tiny()


@pytest.fixture(scope="module")
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Latents 16 x 16, times and prompts 64 x 64 of a batch of two."""
    return noise(2, 3, 16, 16), torch.tensor([0.3, 0.85]), noise(2, 3, 64, 64, seed=1).tanh()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_size():
    with torch.device("meta"):
        denoiser = DecoupledUNet()
        outputs = denoiser(torch.empty(1, 3, 96, 64), torch.empty(1), torch.empty(1, 3, 384, 256))
    assert [output.shape for output in outputs] == [(1, 3, 96, 64)] * 2
    assert round(count(denoiser) / 1e6, 1) == 224.9
    assert round(count(denoiser.pyramid) / 1e6, 1) == 87.8


def test_a_network_on_patches_is_the_one_on_their_pixels_as_channels(inputs):
    """With the same weights, patches of 2 x 2 are what four times the latent channels are."""
    z_t, t, prompt = inputs
    of_patches = tiny(patch_size=2, filter_size=(2, 2))
    of_channels = tiny(latent_channels=12, prompt_stride=8, filter_size=(2, 2))
    of_channels.load_state_dict(of_patches.state_dict())
    with torch.no_grad():
        found = of_patches(z_t, t, of_patches.encode_prompt(prompt, (16, 16)))
        expected = of_channels(F.pixel_unshuffle(z_t, 2), t, prompt)
    for prediction, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(prediction, F.pixel_shuffle(reference, 2))


def test_unit_variance_leaves_the_best_linear_estimate_to_add_to(inputs):
    """With the network silent, of data and noise of variance 1, no multiple of z_t does better."""
    silent = tiny(preconditioning="unit_variance")
    with torch.no_grad():
        for decoder in (silent.decoder_attenuation, silent.decoder_noise):
            decoder.out.weight.zero_()
            decoder.out.bias.zero_()
    n = 64
    z_0, eps = noise(n, 3, 16, 16, seed=2), noise(n, 3, 16, 16, seed=3)
    for time in (0.01, 0.3, 1.0):
        z_t = (1 - time) * z_0 + time**0.5 * eps
        with torch.no_grad():
            found = silent(z_t, torch.full((n,), time), inputs[2][:1].expand(n, -1, -1, -1))
        for prediction, target in zip(found, (-z_0, eps), strict=True):
            best = (target * z_t).sum() / z_t.square().sum() * z_t
            torch.testing.assert_close(prediction, best, atol=0.05, rtol=0)
            # What is missed has the standard deviation that scales the output.
        missed = (found[0] + z_0).std().item()
        assert missed == pytest.approx((time / ((1 - time) ** 2 + time)) ** 0.5, abs=0.02)
    with pytest.raises(InputError, match="needs constant attenuation"):
        tiny(preconditioning="unit_variance", attenuation="linear")


def test_encoding_the_prompt_once_changes_nothing(denoiser, inputs):
    z_t, t, prompt = inputs
    with torch.no_grad():
        features = denoiser.encode_prompt(prompt)
        expected = denoiser(z_t, t, prompt)
        for found, direct in zip(denoiser(z_t, t, features), expected, strict=True):
            torch.testing.assert_close(found, direct)


def test_prompt_time_and_latents_matter(denoiser, inputs):
    z_t, t, prompt = inputs
    with torch.no_grad():
        reference = denoiser(z_t, t, prompt)
        for changed in ((z_t + 0.1, t, prompt), (z_t, t + 0.1, prompt), (z_t, t, -prompt)):
            for found, expected in zip(denoiser(*changed), reference, strict=True):
                assert (found - expected).abs().max() > 1e-3


def test_samples_of_a_batch_do_not_mix(denoiser, inputs):
    z_t, t, prompt = inputs
    with torch.no_grad():
        both = denoiser(z_t, t, prompt)
        second = denoiser(z_t[1:], t[1:], prompt[1:])
    for found, expected in zip(second, both, strict=True):
        torch.testing.assert_close(found, expected[1:], atol=1e-4, rtol=1e-4)


def test_preconditioning_at_t_1(denoiser, inputs):
    """At t = 1 all of z_t is noise, and C has no share of it."""
    z_t, _, prompt = inputs
    raw = {}
    hook = denoiser.decoder_attenuation.register_forward_hook(
        lambda _, __, output: raw.update(attenuation=output)
    )
    with torch.no_grad():
        attenuation, eps = denoiser(z_t, torch.ones(2), prompt)
    hook.remove()
    torch.testing.assert_close(eps, z_t)
    torch.testing.assert_close(attenuation, raw["attenuation"] / 2**0.5)


def test_preconditioning_between(denoiser, inputs):
    z_t, t, prompt = inputs
    raw = []
    hooks = [
        decoder.register_forward_hook(lambda _, __, output: raw.append(output))
        for decoder in (denoiser.decoder_attenuation, denoiser.decoder_noise)
    ]
    with torch.no_grad():
        attenuation, eps = denoiser(z_t, t, prompt)
    for hook in hooks:
        hook.remove()
    for i, time in enumerate((0.3, 0.85)):
        root = (time**2 + 1) ** 0.5
        torch.testing.assert_close(attenuation[i], (1 - time) * z_t[i] + time / root * raw[0][i])
        expected = time**0.5 * z_t[i] + (1 - time) ** 0.5 / root * raw[1][i]
        torch.testing.assert_close(eps[i], expected)


def test_linear_attenuation_has_three_predictions(inputs):
    z_t, _, prompt = inputs
    with torch.no_grad():
        slope, constant, eps = tiny(attenuation="linear")(z_t, torch.full((2,), 1e-4), prompt)
    assert slope.shape == constant.shape == eps.shape == z_t.shape
    assert slope.abs().max() < 0.01  # at t = 0 nothing is known of a, whose mean is 0
    torch.testing.assert_close(constant, z_t, atol=0.01, rtol=0)


def test_without_the_fourier_filter(inputs):
    plain = tiny(aft=False)
    assert not [key for key in plain.state_dict() if ".filter." in key]
    filtered = tiny()
    filtered.load_state_dict(plain.state_dict(), strict=False)
    for decoder in (filtered.decoder_attenuation, filtered.decoder_noise):
        nn.init.ones_(decoder.filter.weight)
    with torch.no_grad():
        for found, expected in zip(plain(*inputs), filtered(*inputs), strict=True):
            assert (found - expected).abs().max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 16), (12, 20)])
def test_any_size_the_strides_divide(denoiser, height, width):
    z_t, prompt = noise(1, 3, height, width), noise(1, 3, 4 * height, 4 * width)
    with torch.no_grad():
        for output in denoiser(z_t, torch.tensor([0.5]), prompt):
            assert output.shape == z_t.shape
            assert output.isfinite().all()


def test_latents_of_another_size_than_the_first_feature(denoiser):
    z_t, t, prompt = noise(1, 3, 8, 8), torch.tensor([0.5]), noise(1, 3, 64, 64)
    with torch.no_grad():
        expected = denoiser(z_t, t, prompt)
        found = denoiser(z_t, t, denoiser.encode_prompt(prompt, latent_size=(8, 8)))
        torch.testing.assert_close(found[0], expected[0])
        with pytest.raises(InputError, match=r"encoded for latents of \(16, 16\)"):
            denoiser(z_t, t, denoiser.encode_prompt(prompt))


def test_the_stem_sees_latents_and_the_first_feature(denoiser):
    """The first convolution is split between z_t and the prompt; the sum is that of both."""
    z_t, prompt = noise(1, 3, 8, 8), noise(1, 3, 64, 64)
    seen = []
    hook = denoiser.stem_norm.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    with torch.no_grad():
        denoiser(z_t, torch.tensor([0.5]), prompt)
        hook.remove()
        feature = F.interpolate(denoiser.pyramid(prompt)[0], (8, 8), mode="bilinear")
        expected = denoiser.stem(torch.cat((z_t, feature), dim=1))
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-5)


def test_saved_and_loaded(denoiser, inputs, tmp_path):
    denoiser.save_pretrained(tmp_path)
    loaded = DecoupledUNet.from_pretrained(tmp_path)
    with torch.no_grad():
        for found, expected in zip(loaded(*inputs), denoiser(*inputs), strict=True):
            torch.testing.assert_close(found, expected)
    half = DecoupledUNet.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert torch.equal(half.time_features.frequency, denoiser.time_features.frequency)


@pytest.mark.parametrize("how", ["autocast", "converted"])
def test_bfloat16_and_channels_last_stay_near_float32(inputs, how):
    denoiser = tiny()
    with torch.no_grad():
        expected = denoiser(*inputs)
        denoiser.to(memory_format=torch.channels_last)
        if how == "converted":
            denoiser.to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            found = denoiser(*inputs)
    for half, single in zip(found, expected, strict=True):
        assert half.dtype == torch.float32
        assert (half - single).square().mean().sqrt() < 0.02 * single.std()


def test_double_precision_agrees_with_single(inputs):
    denoiser = tiny()
    with torch.no_grad():
        single = denoiser(*inputs)
        double = denoiser.double()(*(value.double() for value in inputs))
    for found, expected in zip(single, double, strict=True):
        assert expected.dtype == torch.float64
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_every_parameter_is_trained(inputs):
    denoiser = tiny().train()
    attenuation, eps = denoiser(*inputs)
    (attenuation.square().mean() + eps.square().mean()).backward()
    idle = [
        name
        for name, parameter in denoiser.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert idle == []


def test_prompt_features_receive_gradients_under_autocast(inputs):
    denoiser = tiny().train()
    with torch.autocast("cpu", torch.bfloat16):
        attenuation, eps = denoiser(*inputs)
    (attenuation.square().mean() + eps.square().mean()).backward()
    assert denoiser.pyramid.stem[1].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("latents", "times", "prompts", "message"),
    [
        ((2, 4, 16, 16), (2,), (2, 3, 64, 64), r"z_t: expected \(B, 3, h, w\), found \(2, 4,"),
        ((2, 3, 16, 16), (1,), (2, 3, 64, 64), r"t: expected \(2,\), found \(1,\)"),
        ((2, 3, 16, 16), (2,), (2, 5, 64, 64), r"prompt: expected \(B, 3, H, W\), found \(2, 5,"),
    ],
)
def test_refuses_shapes_that_do_not_fit(denoiser, latents, times, prompts, message):
    with pytest.raises(InputError, match=message):
        denoiser(torch.zeros(latents), torch.full(times, 0.5), torch.zeros(prompts))


def test_sides_that_do_not_divide_are_mirrored_and_cropped(denoiser):
    draw = torch.Generator().manual_seed(1)
    z_t = torch.randn(2, 3, 13, 15, generator=draw)
    prompt = torch.rand(2, 3, 51, 60, generator=draw) * 2 - 1
    t = torch.tensor([0.3, 0.9])
    extended = nn.functional.pad(z_t, (0, 1, 0, 3), mode="reflect")
    shown = nn.functional.pad(prompt, (0, 4, 0, 13), mode="reflect")
    with torch.no_grad():
        for found, expected in zip(
            denoiser(z_t, t, prompt), denoiser(extended, t, shown), strict=True
        ):
            assert found.shape == z_t.shape
            torch.testing.assert_close(found, expected[..., :13, :15])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 20}, "dim: found 20, allowed are multiples of 8"),
        ({"window_sizes": (4, 2)}, "found 2 windows for 3 scales"),
        ({"prompt_encoder": "swin_t"}, "found 3 scales, swin_t has 4"),
        ({"prompt_encoder": "resnet"}, "prompt_encoder: found 'resnet', allowed are"),
        ({"attenuation": "cubic"}, "attenuation: found 'cubic', allowed are"),
    ],
)
def test_refuses_sizes_that_do_not_fit(changes, message):
    with torch.device("meta"), pytest.raises(InputError, match=message):
        tiny(**changes)
