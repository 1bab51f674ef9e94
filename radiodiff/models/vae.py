"""The autoencoder of the first stage: its sizes, its losses and its discriminator.

The network is diffusers' ``AutoencoderKL``. The objective is that of latent diffusion (Rombach et
al., 2022, Sec. 3.1), which RadioDiff takes over: reconstruction (L1 + L2 + LPIPS), a slight KL
penalty, and a patch discriminator that joins late, weighted by the ratio of gradients.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.errors import InputError
from radiodiff.models.collectives import mean_over_processes
from radiodiff.models.lpips import load_lpips
from radiodiff.models.settings import VAELossSettings


def build_vae(
    widths: tuple[int, ...] = (128, 256, 512),
    layers_per_block: int = 2,
    latent_channels: int = 3,
    mid_attention: bool = True,
    norm_groups: int = 32,
    latent_scale: float = 0.3,
) -> AutoencoderKL:
    """Build the autoencoder for single-channel maps; the arguments are :class:`VAESettings`.

    Latents are (N, latent_channels, H / f, W / f) with f = 2^(len(widths) - 1). ``latent_scale`` is
    stored as the model's ``scaling_factor``: the diffusion sees latent_scale times the latents.

    Raises:
        InputError: ``norm_groups`` does not divide a width.
    """
    if any(width % norm_groups for width in widths):
        raise InputError(f"norm_groups: found {norm_groups}, it must divide every width {widths}")
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=tuple(widths),
        layers_per_block=layers_per_block,
        latent_channels=latent_channels,
        mid_block_add_attention=mid_attention,
        norm_num_groups=norm_groups,
        scaling_factor=latent_scale,
    )


class PatchDiscriminator(nn.Module):
    """PatchGAN discriminator (Isola et al., 2017): a map of logits, one per overlapping patch.

    Args:
        width: channels of the first layer; they double with every halving, up to 8 times.
        layers: halvings of the map.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(1, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            modules += [
                nn.Conv2d(
                    widths[level - 1], widths[level], 4, 2 if level < layers else 1, 1, bias=False
                ),
                nn.BatchNorm2d(widths[level]),
                nn.LeakyReLU(0.2),
            ]
        modules.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.layers = nn.Sequential(*modules)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 1, H, W) in [-1, 1] to logits (N, 1, h, w), large where they look real."""
        return self.layers(x)


def reconstruction_loss(reconstruction: Tensor, target: Tensor) -> Tensor:
    """Return L1 + L2 of each map, summed over its pixels: shape (N,)."""
    difference = reconstruction - target
    return (difference.abs() + difference.square()).flatten(1).sum(dim=1)


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return 1/2 E[max(0, 1 - real)] + 1/2 E[max(0, 1 + fake)] of logits of any shape."""
    return 0.5 * (functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean())


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Return the factor that gives both losses gradients of the same norm in the last layer.

    |grad reconstruction| / (|grad adversarial| + 1e-4), clipped to [0, 1e4] and detached (Esser et
    al., 2021, eq. (7)). The gradients are those of the whole batch, also where it is spread over
    processes.

    Args:
        reconstruction: scalar loss.
        adversarial: scalar loss.
        last_layer: weight of the decoder's last convolution, on which both depend.
    """
    (of_reconstruction,) = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)
    (of_adversarial,) = torch.autograd.grad(adversarial, last_layer, retain_graph=True)
    norms = [mean_over_processes(g.detach()).norm() for g in (of_reconstruction, of_adversarial)]
    return (norms[0] / (norms[1] + 1e-4)).clamp(0.0, 1e4)


class VAELoss(nn.Module):
    """The objective of the autoencoder and of its discriminator.

    Losses are sums over pixels and latents, means over maps, as released. The released code keeps
    a learnable output variance but never optimises it; here it is left at 1.

    Attributes:
        discriminator: its parameters belong to the second optimiser; None at weight 0.

    Raises:
        InputError: LPIPS is asked for and its weights are not there.
    """

    def __init__(self, settings: VAELossSettings) -> None:
        super().__init__()
        self.settings = settings
        self.perceptual = (
            load_lpips(settings.perceptual_weights) if settings.perceptual == "lpips" else None
        )
        self.discriminator = (
            PatchDiscriminator(settings.discriminator_width, settings.discriminator_layers)
            if settings.discriminator_weight > 0
            else None
        )

    def adversarial(self, step: int) -> bool:
        """Say whether the discriminator takes part in training step ``step``."""
        return self.discriminator is not None and step >= self.settings.discriminator_start

    def autoencoder_loss(
        self,
        target: Tensor,
        reconstruction: Tensor,
        posterior: DiagonalGaussianDistribution,
        step: int,
        last_layer: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of encoder and decoder, and its parts for the log.

        Args:
            target: maps (N, 1, H, W) in [-1, 1].
            reconstruction: the decoder's output for them.
            posterior: what ``vae.encode(target).latent_dist`` returned.
            step: training step, from 0.
            last_layer: ``vae.decoder.conv_out.weight``.
        """
        settings = self.settings
        reconstruction_error = reconstruction_loss(reconstruction, target).mean()
        parts = {"reconstruction": reconstruction_error.detach()}
        if self.perceptual is not None:
            distance = self.perceptual(reconstruction, target).mean()
            parts["lpips"] = distance.detach()
            # The release adds the distance of a map to each of its pixels before the sum.
            pixels = target[0].numel()
            reconstruction_error = (
                reconstruction_error + settings.perceptual_weight * pixels * distance
            )
        kl = posterior.kl().mean()
        parts["kl"] = kl.detach()
        loss = reconstruction_error + settings.kl_weight * kl
        if self.discriminator is not None and self.adversarial(step):
            adversarial = -self.discriminator(reconstruction).mean()
            weight = settings.discriminator_weight * adaptive_weight(
                reconstruction_error, adversarial, last_layer
            )
            parts |= {"adversarial": adversarial.detach(), "adversarial_weight": weight}
            loss = loss + weight * adversarial
        return loss, {"loss": loss.detach(), **parts}

    def discriminator_loss(
        self, target: Tensor, reconstruction: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the discriminator's hinge loss and its mean logits for the log.

        Call it on the steps for which :meth:`adversarial` is true, after the autoencoder's step.

        Raises:
            InputError: there is no discriminator, its weight is 0.
        """
        if self.discriminator is None:
            raise InputError("discriminator_weight: found 0, there is no discriminator to train")
        real = self.discriminator(target.detach())
        fake = self.discriminator(reconstruction.detach())
        loss = hinge_discriminator_loss(real, fake)
        logits = {"logits_real": real.detach().mean(), "logits_fake": fake.detach().mean()}
        return loss, {"discriminator": loss.detach(), **logits}


def _initialise(module: nn.Module) -> None:
    """Draw initial weights as pix2pix does: N(0, 0.02), normalisation scales N(1, 0.02)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
