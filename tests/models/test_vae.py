import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.distributions import Normal, kl_divergence

from radiodiff.errors import InputError
from radiodiff.models.settings import VAELossSettings, VAESettings
from radiodiff.models.vae import (
    PatchDiscriminator,
    VAELoss,
    adaptive_weight,
    build_vae,
    hinge_discriminator_loss,
    reconstruction_loss,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def vae():
    model = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4, latent_scale=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1, generator=generator())
    return model


@pytest.fixture
def objective():
    settings = VAELossSettings(
        perceptual="none", discriminator_start=10, discriminator_width=4, discriminator_layers=2
    )
    loss = VAELoss(settings)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.2, generator=generator(1))
    return loss


def reconstruct(vae, seed: int = 2):
    target = torch.rand(3, 1, 16, 16, generator=generator(seed)) * 2 - 1
    posterior = vae.encode(target).latent_dist
    return target, posterior, vae.decode(posterior.mode()).sample


def test_paper_size():
    with torch.device("meta"):
        model = build_vae(**VAESettings().model_dump())
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(55.3e6, rel=1e-3)


def test_sizes_and_scale_are_kept_by_a_round_trip(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    loaded = type(vae).from_pretrained(tmp_path)
    assert loaded.config.scaling_factor == 0.5
    target, posterior, reconstruction = reconstruct(vae)
    assert posterior.mean.shape == (3, 3, 8, 8)
    again = loaded.decode(loaded.encode(target).latent_dist.mode()).sample
    torch.testing.assert_close(again, reconstruction)


def test_groups_must_divide_the_widths():
    with pytest.raises(InputError, match=r"norm_groups: found 32.*\(48, 64\)"):
        build_vae(widths=(48, 64))


def test_reconstruction_loss_by_hand():
    target = torch.zeros(2, 1, 1, 3)
    reconstruction = torch.tensor([[[[0.5, -1.0, 0.0]]], [[[2.0, 0.0, 0.0]]]])
    assert reconstruction_loss(reconstruction, target).tolist() == [0.5 + 0.25 + 1 + 1, 2.0 + 4.0]


def test_hinge_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    # Real: 0, 0.5, 2; fake: 0, 1, 2.
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(0.5 * (2.5 / 3 + 3.0 / 3))


def test_adaptive_weight_follows_its_definition():
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    # Gradients (6, 8) and (0, 5): norms 10 and 5.
    found = adaptive_weight(6 * weight[0] + 8 * weight[1], 5 * weight[1], weight)
    assert found.item() == pytest.approx(10 / (5 + 1e-4))
    assert not found.requires_grad
    tiny = adaptive_weight(1e6 * weight[0], 0 * weight[1], weight)
    assert tiny.item() == 1e4


def test_discriminator_judges_patches():
    """Three halvings see 70 x 70 pixels, as pix2pix says; the logits are one map per image."""
    discriminator = PatchDiscriminator(width=4, layers=3).eval()
    x = torch.rand(1, 1, 128, 128, generator=generator()).requires_grad_()
    logits = discriminator(x)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    seen = x.grad[0, 0].ne(0).nonzero()
    assert (seen.max(dim=0).values - seen.min(dim=0).values + 1).tolist() == [70, 70]


def test_released_discriminator_size():
    """pix2pix's 70 x 70 discriminator on one channel: 2.76 M parameters."""
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_763_585


def test_autoencoder_loss_before_the_discriminator_starts(vae, objective):
    target, posterior, reconstruction = reconstruct(vae)
    last_layer = vae.decoder.conv_out.weight
    loss, parts = objective.autoencoder_loss(target, reconstruction, posterior, 9, last_layer)
    exact = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0))
    kl = exact.sum(dim=(1, 2, 3)).mean()
    torch.testing.assert_close(parts["kl"], kl)
    expected = reconstruction_loss(reconstruction, target).mean() + 1e-6 * kl
    torch.testing.assert_close(loss, expected)
    assert "adversarial" not in parts
    assert not objective.adversarial(9)
    assert objective.adversarial(10)


def test_adversarial_gradient_has_the_weighted_norm_of_the_reconstruction(vae, objective):
    """With the adaptive weight both gradients of the last layer are as long, up to weight 0.5."""
    target, posterior, reconstruction = reconstruct(vae)
    last_layer = vae.decoder.conv_out.weight
    loss, parts = objective.autoencoder_loss(target, reconstruction, posterior, 10, last_layer)
    assert parts["adversarial_weight"] < 0.5e4
    torch.testing.assert_close(
        parts["adversarial"], -objective.discriminator(reconstruction).mean().detach()
    )
    (total,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
    (plain,) = torch.autograd.grad(reconstruction_loss(reconstruction, target).mean(), last_layer)
    assert (total - plain).norm().item() == pytest.approx(0.5 * plain.norm().item(), rel=1e-2)


def test_discriminator_loss_trains_the_discriminator_alone(vae, objective):
    target, _, reconstruction = reconstruct(vae)
    vae.zero_grad()
    loss, parts = objective.discriminator_loss(target, reconstruction)
    loss.backward()
    assert all(p.grad is None for p in vae.parameters())
    assert all(p.grad is not None for p in objective.discriminator.parameters())
    assert set(parts) == {"discriminator", "logits_real", "logits_fake"}


def test_no_discriminator_at_weight_zero(vae):
    objective = VAELoss(VAELossSettings(perceptual="none", discriminator_weight=0.0))
    assert not objective.adversarial(10**6)
    with pytest.raises(InputError, match="discriminator_weight"):
        objective.discriminator_loss(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))


def test_perceptual_distance_counts_once_per_pixel(vae, objective):
    """As released: the distance of a map is added to each of its pixels before the sum."""

    class Distance(torch.nn.Module):
        def forward(self, x, y):
            return torch.arange(1.0, 1.0 + len(x))

    target, posterior, reconstruction = reconstruct(vae)
    last_layer = vae.decoder.conv_out.weight
    without, _ = objective.autoencoder_loss(target, reconstruction, posterior, 0, last_layer)
    objective.perceptual = Distance()
    loss, parts = objective.autoencoder_loss(target, reconstruction, posterior, 0, last_layer)
    assert parts["lpips"].item() == 2.0
    torch.testing.assert_close(loss - without, torch.tensor(16 * 16 * 2.0), rtol=1e-4, atol=0)


def test_lpips_without_its_weights_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="perceptual: none"):
        VAELoss(VAELossSettings(perceptual_weights=str(tmp_path)))


def test_discriminator_initialisation_is_pix2pix():
    discriminator = PatchDiscriminator()
    convolution = discriminator.layers[2].weight
    assert convolution.std().item() == pytest.approx(0.02, rel=0.05)
    assert isinstance(discriminator.layers[3], torch.nn.BatchNorm2d)
    assert discriminator.layers[3].bias.abs().sum() == 0
    assert discriminator.layers[3].weight.mean().item() == pytest.approx(1.0, abs=0.02)


def test_posterior_is_the_library_s():
    """The KL part relies on diffusers' distribution, whose KL sums over each map."""
    parameters = torch.zeros(2, 6, 4, 4)
    assert DiagonalGaussianDistribution(parameters).kl().tolist() == [0.0, 0.0]
