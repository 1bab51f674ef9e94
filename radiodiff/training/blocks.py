"""What a run may do to the blocks of its networks: recompute their activations, compile them."""

from __future__ import annotations

from functools import partial

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.swin_transformer import SwinTransformerBlock

from radiodiff.models.layers import BottleneckAttention, LinearAttention, ResidualBlock

BLOCKS: tuple[type[nn.Module], ...] = (
    ResidualBlock,
    LinearAttention,
    BottleneckAttention,
    SwinTransformerBlock,
    ResnetBlock2D,
    Attention,
)
"""None holds a batch normalisation, whose running statistics a second pass would count twice."""


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the residual and attention blocks of ``network``, none inside another."""
    found: list[nn.Module] = []
    for child in network.children():
        found += [child] if isinstance(child, BLOCKS) else blocks_of(child)
    return found


def recompute_activations(network: nn.Module) -> None:
    """Let every block keep its input alone and compute its activations again when going back."""
    for block in blocks_of(network):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(network: nn.Module) -> None:
    """Compile every block by itself: blocks of a kind share the work, and state keys stay."""
    for block in blocks_of(network):
        block.compile()
