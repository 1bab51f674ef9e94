from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from radiodiff.models.convolution import WeightStandardisedConv2d, convolve_as_product

DOUBLE = torch.float64


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_weight_standardised_convolution_equals_its_definition(memory_format):
    conv = WeightStandardisedConv2d(3, 4, 3, padding=1).double().to(memory_format=memory_format)
    x = noise(1, 3, 6, 5)
    weight = conv.weight
    mean = weight.mean(dim=(1, 2, 3), keepdim=True)
    variance = weight.var(dim=(1, 2, 3), correction=0, keepdim=True)
    expected = F.conv2d(x, (weight - mean) / (variance + 1e-5).sqrt(), conv.bias, padding=1)
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("shape", [(8, 8), (1, 5)])
def test_convolution_as_a_product_has_the_values_and_gradients_of_a_convolution(shape):
    tensors = [noise(2, 6, *shape), noise(4, 6, 3, 3, seed=1), noise(4, seed=2)]
    results = []
    for convolve in (convolve_as_product, partial(F.conv2d, padding=1)):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        result = convolve(*leaves)
        result.square().sum().backward()
        results.append([result, *(leaf.grad for leaf in leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_mixed_precision_training_convolves_small_maps_as_in_float32():
    conv = WeightStandardisedConv2d(16, 8, 3, padding=1).to(memory_format=torch.channels_last)
    gradients = []
    for enabled in (True, False):
        conv.zero_grad()
        x = noise(2, 16, 8, 8, dtype=torch.float32).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            conv(x).float().square().sum().backward()
        gradients.append([x.grad, conv.weight.grad, conv.bias.grad])
    for found, expected in zip(*gradients, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()
