import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from radiodiff.errors import InputError
from radiodiff.models.baselines.rmegan import (
    FLAT,
    Discriminator,
    RMEGANGenerator,
    adversarial_loss,
    direction_loss,
    free_propagation,
    generator_loss,
    ms_ssim,
    total_variation,
)
from radiodiff.models.baselines.settings import FIRST_PHASE, SECOND_PHASE, GeneratorWeights

NARROW = {"in_channels": 2, "widths": (4, 4, 5, 5, 6, 6, 7, 7, 8), "head_width": 4}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def radio_map(row: int, column: int, size: int = 32) -> Tensor:
    """Log-distance path loss: level 254.9 - 64.5 log10 d."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    distance = torch.hypot(rows - row + 0.0, columns - column + 0.0).clamp(min=1.0)
    return ((254.9 - 64.5 * distance.log10()) / 255)[None, None]


def test_the_template_is_centred_on_the_transmitter() -> None:
    truth = torch.cat([radio_map(5, 20), radio_map(16, 3)])
    template = free_propagation(truth)
    assert template.shape == truth.shape
    assert template[0, 0, 5, 20] == 0
    assert template[0, 0, 5, 30] == pytest.approx(-1.0)
    assert template[1, 0, 16, 13] == pytest.approx(-1.0)


def test_the_direction_loss_knows_neither_slope_nor_offset() -> None:
    truth = radio_map(9, 12)
    template = free_propagation(truth)
    inner = direction_loss(0.3 + 0.2 * truth, template)
    assert inner == pytest.approx(direction_loss(truth, template).item(), abs=3e-3)
    assert inner < 0.02  # but for the pixels next to the transmitter
    assert direction_loss(-truth, template) > 1.98
    turned = direction_loss(truth.rot90(dims=(-2, -1)), template)
    assert 0.3 < turned < 1.7  # the transmitter is elsewhere


def test_a_flat_map_has_no_direction_and_a_bounded_gradient() -> None:
    gray = torch.zeros(1, 1, 16, 16, requires_grad=True)
    loss = direction_loss(gray, free_propagation(radio_map(4, 4, 16)))
    assert loss.item() == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(loss, gray)
    assert gradient.isfinite().all()
    assert 0 < gradient.abs().max() < 1 / FLAT


def test_ms_ssim_by_hand() -> None:
    x, y = noise(1, 1, 40, 40), noise(1, 1, 40, 40, seed=1)
    a, b = x[0, 0].double().numpy(), y[0, 0].double().numpy()
    expected = 1.0
    for sigma in (0.5, 1.0, 2.0, 4.0, 8.0):

        def blur(image, sigma=sigma):
            return gaussian_filter(image, sigma, mode="constant", radius=16)

        mu_a, mu_b = blur(a), blur(b)
        covariance = blur(a * b) - mu_a * mu_b
        variances = blur(a * a) - mu_a**2 + blur(b * b) - mu_b**2
        expected = expected * (2 * covariance + 9e-4) / (variances + 9e-4)
    expected = expected * (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
    assert torch.allclose(ms_ssim(x, y)[0].double(), torch.from_numpy(expected), atol=1e-4)
    assert torch.allclose(ms_ssim(x, x), torch.ones(1, 40, 40), atol=1e-5)


def test_total_variation_of_a_step() -> None:
    gray = torch.zeros(2, 1, 4, 5)
    gray[1, :, :, 3:] = 0.5
    assert total_variation(gray).tolist() == [0.0, 2.0]


def test_the_cross_entropy_asks_the_discriminator_for_the_truth() -> None:
    logits = torch.full((2, 1, 3, 3), 2.0)
    assert adversarial_loss(logits, real=True) == pytest.approx(math.log1p(math.exp(-2.0)))
    assert adversarial_loss(logits, real=False) == pytest.approx(math.log1p(math.exp(2.0)))


def test_each_part_has_its_weight_and_the_authors_unit() -> None:
    truth = radio_map(9, 12)
    gray = (truth + 0.1 * noise(1, 1, 32, 32)).requires_grad_()
    logits = torch.zeros(1, 1, 1, 1)
    mask = noise(1, 1, 32, 32, seed=2) < 0.1
    samples = (truth - 0.05, mask)
    nothing = dict.fromkeys(GeneratorWeights.model_fields, 0.0)
    expected = {
        "adversarial": math.log(2.0),
        "squared": 256**2 * (gray - truth).square().mean().item(),
        "absolute": 256 * (gray - truth).abs().mean().item(),
        "structure": 1 - ms_ssim(gray, truth).mean().item(),
        "direction": direction_loss(gray, free_propagation(truth)).item(),
        "variation": 256 * total_variation(gray).item(),
        "samples": 256 * (gray - truth + 0.05)[mask].abs().mean().item(),
    }
    assert expected.keys() == nothing.keys()
    for name, value in expected.items():
        weights = GeneratorWeights(**(nothing | {name: 3.0}))
        loss, parts = generator_loss(gray, truth, logits, weights, samples)
        assert loss.item() == pytest.approx(3 * value, rel=1e-5)
        assert parts.keys() == {name}
    loss, parts = generator_loss(gray, truth, logits, SECOND_PHASE, samples)
    by_hand = sum(getattr(SECOND_PHASE, name) * value for name, value in expected.items())
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    assert "samples" not in generator_loss(gray, truth, logits, SECOND_PHASE, None)[1]


def test_the_phases_differ_as_published() -> None:
    assert FIRST_PHASE.direction > 0
    assert SECOND_PHASE.direction == 0
    assert FIRST_PHASE.structure == FIRST_PHASE.samples == 0
    assert (SECOND_PHASE.structure, SECOND_PHASE.absolute) == (420.0, 16380.0)


def test_the_discriminator_sees_the_scene() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(2, width=4).eval()
    x = noise(2, 2, 64, 64)
    gray = noise(2, 1, 64, 64)
    with torch.no_grad():
        logits = discriminator(gray, x)
        assert logits.shape == (2, 1, 1, 1)
        assert not torch.allclose(logits, discriminator(gray, 1 - x))
        assert discriminator(noise(1, 1, 256, 256), noise(1, 2, 256, 256)).shape == (1, 1, 13, 13)


def test_the_authors_sizes() -> None:
    with torch.device("meta"):
        networks = RMEGANGenerator(in_channels=3), Discriminator(3)
    sizes = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert sizes == [10_921_984, 2_766_592]


def test_the_generator_is_saved_and_loaded(tmp_path) -> None:
    generator = RMEGANGenerator(**NARROW)
    generator.save_pretrained(tmp_path)
    x = noise(1, 2, 64, 64)
    with torch.no_grad():
        gray = generator(x)
        assert gray.shape == (1, 1, 64, 64)
        assert gray.min() >= 0
        assert torch.equal(RMEGANGenerator.from_pretrained(tmp_path)(x), gray)


def test_the_generator_refuses_what_does_not_fit() -> None:
    generator = RMEGANGenerator(**NARROW)
    with pytest.raises(InputError, match=r"expected \(B, 2, H, W\), found \(1, 3, 64, 64\)"):
        generator(noise(1, 3, 64, 64))


def test_the_generator_returns_maps_of_any_size() -> None:
    generator = RMEGANGenerator(**NARROW)
    assert generator(noise(1, 2, 50, 70)).shape == (1, 1, 50, 70)
