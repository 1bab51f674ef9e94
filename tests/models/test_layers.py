import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radiodiff.errors import InputError
from radiodiff.models.fourier import AdaptiveFourierFilter, fourier_filter, resample_transfer
from radiodiff.models.layers import (
    BottleneckAttention,
    ChannelNorm,
    ConditionAttention,
    GaussianFourierFeatures,
    LinearAttention,
    ResidualBlock,
    sine_position_encoding,
)

DOUBLE = torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def randomise(module: nn.Module) -> nn.Module:
    """Fill every parameter and buffer, so that no zero bias or unit gain hides a mistake."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator).to(tensor) * 0.5
            if tensor.ndim > 1:
                tensor.data -= 0.75
    return module.double().eval()


def test_channel_norm_standardises_the_channels_of_each_pixel():
    x = 3 * noise(2, 5, 3, 4) + 1
    norm = ChannelNorm(5).double()
    norm.weight.data = torch.arange(1.0, 6.0, dtype=DOUBLE)
    variance = x.var(dim=1, correction=0, keepdim=True)
    expected = (x - x.mean(dim=1, keepdim=True)) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected * norm.weight[None, :, None, None])


def test_residual_block_is_modulated_by_scale_and_shift():
    block = randomise(ResidualBlock(8, 16, time_channels=4))
    x, time = noise(2, 8, 4, 4), noise(2, 4, seed=3)
    scale, shift = block.modulation(F.silu(time)).chunk(2, dim=1)
    h = block.norm1(block.conv1(x)) * (1 + scale[..., None, None]) + shift[..., None, None]
    expected = F.silu(block.norm2(block.conv2(F.silu(h)))) + block.shortcut(x)
    torch.testing.assert_close(block(x, time), expected)


def split_heads(qkv: Tensor, heads: int) -> list[Tensor]:
    """(B, 3 K D, H, W) to q, k, v of (B, K, N, D)."""
    return [
        part.unflatten(1, (heads, -1)).flatten(3).transpose(2, 3) for part in qkv.chunk(3, dim=1)
    ]


def test_linear_attention_equals_its_definition():
    layer = randomise(LinearAttention(6, heads=2, head_channels=3))
    x = noise(2, 6, 4, 5)
    q, k, v = split_heads(layer.qkv(layer.norm(x)), 2)
    weights = torch.einsum("bknd,bkmd->bknm", q.softmax(-1) / math.sqrt(3), k.softmax(-2))
    attended = torch.einsum("bknm,bkmd->bknd", weights, v / 20)
    attended = attended.transpose(2, 3).reshape(2, 6, 4, 5)
    torch.testing.assert_close(layer(x), x + layer.out_norm(layer.out(attended)))


def test_bottleneck_attention_equals_its_definition():
    layer = randomise(BottleneckAttention(6, heads=2, head_channels=3))
    x = noise(2, 6, 4, 5)
    q, k, v = split_heads(layer.qkv(layer.norm(x)), 2)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(3)).softmax(-1)
    attended = (weights @ v).transpose(2, 3).reshape(2, 6, 4, 5)
    torch.testing.assert_close(layer(x), x + layer.out(attended))


def test_position_encoding_by_hand():
    encoding = sine_position_encoding(2, 3, 8)
    assert encoding.shape == (1, 8, 2, 3)
    row, column = 1, 2  # counted from 1: 2 and 3
    expected = [f(2 / w) for w in (1, 100) for f in (math.sin, math.cos)]
    expected += [f(3 / w) for w in (1, 100) for f in (math.sin, math.cos)]
    torch.testing.assert_close(encoding[0, :, row, column], torch.tensor(expected))


def released_condition_attention(layer: ConditionAttention, prompt: Tensor, x: Tensor) -> Tensor:
    """The definition step by step: pad, pool, attend without scaling, resize, convolve."""
    prompt = layer.prompt_norm(layer.prompt_conv(prompt))
    x = layer.feature_norm(layer.feature_conv(x))
    size = x.shape[-2:]
    resized = F.interpolate(prompt, size, mode="bilinear", align_corners=True)
    shortcut = layer.merge_norm(x + layer.merge(torch.cat((resized, x), dim=1)))

    def pool(features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        padded = F.pad(features, (0, -width % layer.window, 0, -height % layer.window))
        return F.avg_pool2d(padded, layer.window)

    def tokens(features: Tensor) -> Tensor:
        _, channels, height, width = features.shape
        return (features + sine_position_encoding(height, width, channels)).flatten(2).mT

    def heads(sequence: Tensor) -> Tensor:
        return sequence.unflatten(2, (layer.heads, -1)).transpose(1, 2)

    pooled = pool(prompt)
    q, kv = heads(layer.query(tokens(pooled))), tokens(pool(x))
    weights = (q @ heads(layer.key(kv)).mT).softmax(-1)
    attended = (weights @ heads(layer.value(kv))).transpose(1, 2).flatten(2)
    pooled = pooled + attended.mT.reshape(pooled.shape)
    pooled = pooled + layer.mlp_out(layer.mlp_in(pooled).relu())
    resized = F.interpolate(pooled, size, mode="bilinear", align_corners=True)
    return shortcut + layer.out(resized)


@pytest.mark.parametrize(
    ("prompt_size", "size", "window"),
    [((8, 8), (8, 8), 4), ((6, 9), (7, 10), 4), ((4, 4), (4, 4), 1)],
)
def test_condition_attention_equals_the_released_order_of_operations(prompt_size, size, window):
    layer = randomise(ConditionAttention(5, 16, window))
    prompt, x = noise(2, 5, *prompt_size), noise(2, 16, *size, seed=1)
    torch.testing.assert_close(layer(prompt, x), released_condition_attention(layer, prompt, x))


def test_condition_attention_looks_at_a_larger_map_as_at_that_of_training():
    layer = randomise(ConditionAttention(5, 16, 2, max_pooled=(4, 3)))
    seen: list[Tensor] = []
    layer.query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    layer.key.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prompt, x = noise(2, 5, 8, 6), noise(2, 16, 8, 6, seed=1)
    layer(prompt, x)
    layer(*(m.repeat_interleave(2, 2).repeat_interleave(3, 3) for m in (prompt, x)))
    assert seen[0].shape == (2, 12, 16)
    torch.testing.assert_close(seen[2:], seen[:2])


def test_condition_attention_drops_units_in_training_only():
    layer = ConditionAttention(8, 8, 1)
    prompt, x = noise(1, 8, 4, 4, dtype=torch.float32), noise(1, 8, 4, 4, dtype=torch.float32)
    assert layer.dropout.p == 0.1
    layer.prompt_norm.eval(), layer.feature_norm.eval()
    assert not torch.equal(layer(prompt, x), layer(prompt, x))
    layer.eval()
    assert torch.equal(layer(prompt, x), layer(prompt, x))


def dft_matrix(length: int) -> Tensor:
    index = torch.arange(length, dtype=DOUBLE)
    return torch.exp(-2j * math.pi / length * torch.outer(index, index))


def test_fourier_filter_equals_the_two_dimensional_transform():
    """RadioDiff, eq. (22) with the full complex spectrum, written as matrices."""
    height, width = 4, 6
    z = noise(2, 3, height, width)
    w = torch.fft.fft2(noise(3, height, width, seed=1))  # Hermitian: the filtered map is real
    rows, columns = dft_matrix(height), dft_matrix(width)
    spectrum = rows @ z.to(w) @ columns
    expected = rows.conj() @ (w * spectrum) @ columns.conj() / (height * width)
    torch.testing.assert_close(expected.imag, torch.zeros_like(expected.imag))
    torch.testing.assert_close(fourier_filter(z, w[..., : width // 2 + 1]), expected.real)


def test_adaptive_filter_is_the_paper_s_with_plain_input():
    layer = AdaptiveFourierFilter(8, (4, 4)).double()
    layer.norm, layer.conv = nn.Identity(), nn.Identity()
    z = noise(2, 8, 4, 4)
    w = torch.view_as_complex(layer.weight)
    spectrum = torch.fft.rfft2(z)
    torch.testing.assert_close(layer(z), z + torch.fft.irfft2(w * spectrum, s=(4, 4)))


def test_adaptive_filter_normalises_and_convolves_first():
    layer = randomise(AdaptiveFourierFilter(8, (4, 4)))
    z = noise(2, 8, 4, 4)
    filtered = fourier_filter(layer.conv(layer.norm(z)), torch.view_as_complex(layer.weight))
    torch.testing.assert_close(layer(z), z + filtered)


@pytest.mark.parametrize("size", [(4, 4), (6, 5)])
def test_gradients_of_the_adaptive_filter(size):
    layer = AdaptiveFourierFilter(4, (4, 4)).double()
    z = noise(1, 4, *size).requires_grad_()

    def apply(z: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, z)

    assert torch.autograd.gradcheck(apply, (z, layer.weight))


@pytest.mark.parametrize("new_size", [(8, 8), (12, 8), (6, 5), (9, 16), (4, 4)])
def test_a_resized_transfer_function_keeps_gains_and_shifts(new_size):
    """A gain stays that gain, and a shift by (1, 2) pixels shifts a map of any size by (1, 2)."""
    size = (8, 8)
    shift = torch.zeros(1, *size, dtype=DOUBLE)
    shift[0, 1, 2] = 3.0
    resized = resample_transfer(torch.fft.rfft2(shift), size, new_size)
    z = noise(1, 1, *new_size)
    torch.testing.assert_close(fourier_filter(z, resized), 3 * z.roll((1, 2), dims=(-2, -1)))


def test_a_resized_transfer_function_is_the_kernel_on_a_larger_map():
    size, new_size = (5, 7), (8, 12)
    kernel = noise(2, *size)
    centred = torch.zeros(2, *new_size, dtype=DOUBLE)
    for row in range(-2, 3):
        for column in range(-3, 4):
            centred[:, row, column] = kernel[:, row, column]
    resized = resample_transfer(torch.fft.rfft2(kernel), size, new_size)
    torch.testing.assert_close(resized, torch.fft.rfft2(centred))


def test_a_real_transfer_function_stays_real():
    """Without phase on one size, without phase on any: also at the highest frequency."""
    kernel = noise(2, 8, 6)
    even = (kernel + kernel.flip(-2, -1).roll((1, 1), dims=(-2, -1))) / 2
    resized = resample_transfer(torch.fft.rfft2(even), (8, 6), (12, 10))
    torch.testing.assert_close(resized.imag, torch.zeros_like(resized.imag))


def test_a_transfer_function_survives_a_larger_map_and_back():
    transfer = torch.fft.rfft2(noise(2, 8, 6))
    larger = resample_transfer(transfer, (8, 6), (16, 20))
    torch.testing.assert_close(resample_transfer(larger, (16, 20), (8, 6)), transfer)


@pytest.mark.parametrize("size", [(4, 4), (6, 8)])
def test_the_filter_runs_under_autocast_and_in_bfloat16(size):
    layer = AdaptiveFourierFilter(8, (4, 4)).to(memory_format=torch.channels_last)
    z = noise(2, 8, *size, dtype=torch.float32)
    expected = layer(z)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(z).float(), expected, atol=0.05, rtol=0.05)
    half = layer.to(torch.bfloat16)(z.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)


def test_autocast_leaves_the_transform_in_single_precision():
    z, transfer = noise(1, 2, 6, 8), torch.fft.rfft2(noise(2, 4, 4, seed=1))
    expected = fourier_filter(z, resample_transfer(transfer, (4, 4), (6, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        resized = resample_transfer(transfer.to(torch.complex64), (4, 4), (6, 8))
        found = fourier_filter(z.float(), resized)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_time_features_by_hand():
    features = GaussianFourierFeatures(4, scale=16.0)
    features.frequency.copy_(torch.tensor([1.0, 2.5]))
    phase = 1.25 * math.pi  # 2 pi times 2.5 times 0.25; the other phases are 0, 0 and pi / 2
    expected = [[0.0, 0.0, 1.0, 1.0], [1.0, math.sin(phase), 0.0, math.cos(phase)]]
    torch.testing.assert_close(
        features(torch.tensor([0.0, 0.25])), torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_time_frequencies_stay_in_single_precision():
    features = GaussianFourierFeatures(64, scale=16.0)
    frequency = features.frequency.clone()
    assert torch.equal(features.to(torch.bfloat16).frequency, frequency)
    assert torch.equal(features.half().frequency, frequency)
    assert features.double().frequency.dtype == torch.float64


def test_time_features_need_an_even_number():
    with pytest.raises(InputError, match="even number, found 5"):
        GaussianFourierFeatures(5, scale=1.0)
