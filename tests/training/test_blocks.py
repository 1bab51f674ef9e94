import copy

import pytest
import torch
from torch import nn

from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.training.blocks import BLOCKS, blocks_of, compile_blocks, recompute_activations


def networks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    torch.manual_seed(0)
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 1),
        prompt_encoder="convolutional",
        window_sizes=(2, 1),
        filter_size=(4, 4),
    )
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4)
    prompt = torch.rand(2, 3, 32, 32)
    return {
        "denoiser": (denoiser, (torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.9]), prompt)),
        "decoder": (vae.decoder, (torch.randn(2, 3, 8, 8),)),
    }


def gradients(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    torch.manual_seed(1)
    output = network(*inputs)
    loss = sum(part.square().mean() for part in output) if isinstance(output, tuple) else output
    torch.as_tensor(loss).sum().backward()
    return [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", ["denoiser", "decoder"])
def test_recomputing_activations_changes_nothing(name: str) -> None:
    network, inputs = networks()[name]
    other = copy.deepcopy(network)
    recompute_activations(other)
    assert blocks_of(network)
    ran = []
    blocks_of(other)[0].register_forward_pre_hook(lambda *_: ran.append(1))
    first, second = gradients(network, inputs), gradients(other, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    buffers = zip(network.buffers(), other.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in buffers)
    assert other.state_dict().keys() == network.state_dict().keys()


def test_activations_are_not_kept() -> None:
    network, inputs = networks()["denoiser"]
    kept = []
    for recompute in (False, True):
        if recompute:
            recompute_activations(network)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            network(*inputs)
        kept.append(sum(sizes))
    assert kept[1] < 0.6 * kept[0]


def test_no_block_holds_a_batch_normalisation() -> None:
    for network, _ in networks().values():
        for block in blocks_of(network):
            assert isinstance(block, BLOCKS)
            assert not any(isinstance(m, nn.BatchNorm2d) for m in block.modules())


def test_every_block_is_compiled_and_state_keys_stay() -> None:
    network, _ = networks()["denoiser"]
    keys = list(network.state_dict())
    compile_blocks(network)
    assert all(block._compiled_call_impl is not None for block in blocks_of(network))
    assert list(network.state_dict()) == keys
