import pytest
import torch

from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.experiments.precision import prepare_networks, resolve_dtype
from radiodiff.experiments.settings import NetworkPrecision
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_only_where_a_device_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    found = {"avx512_bf16": native}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert resolve_dtype("auto", "cpu") == expected
    assert resolve_dtype("auto", "meta") == torch.float32
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16
    assert resolve_dtype("float32", "cpu") == torch.float32


def test_a_torch_that_cannot_be_asked_in_public_is_asked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=native: found)
        assert resolve_dtype("auto", "cpu") == expected


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_network_of_a_pipeline_is_prepared(dtype: NetworkPrecision) -> None:
    vae = build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4)
    denoiser = DecoupledUNet(
        dim=8, dim_mults=(1, 1), prompt_channels=1, prompt_encoder="convolutional",
        prompt_stride=2, window_sizes=(2, 1), filter_size=(8, 8),
    )  # fmt: skip
    pipeline = RadioDiffPipeline(vae, denoiser, DecoupledScheduler(), ["distance"])
    expected = getattr(torch, dtype)
    assert prepare_networks(pipeline, "cpu", dtype) == expected
    for network in (vae, denoiser):
        assert not network.training
        weights = [p for p in network.parameters() if p.is_floating_point()]
        assert {p.dtype for p in weights} == {expected}
        filters = [p for p in weights if p.ndim == 4 and min(p.shape[1:]) > 1]
        assert filters
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)
