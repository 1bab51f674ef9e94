"""Arguments that nobody meant: one line from the pipelines, and what must work works."""

import numpy as np
import pytest
import torch

from radiodiff.checks import check_count
from radiodiff.data.measurements import Measurements
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.weights import read_checkpoint


@pytest.fixture(scope="module")
def generates() -> RadioDiffPipeline:
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 2),
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(4, 4),
    )
    vae = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4)
    return RadioDiffPipeline(vae, denoiser, DecoupledScheduler())


@pytest.fixture(scope="module")
def inverts() -> RadioDiffInversePipeline:
    pipeline = RadioDiffInversePipeline(
        PatchUNet(16, block_out_channels=(32,)).eval(), build_noise_schedule()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def measured(dtype: torch.dtype = torch.float32) -> Measurements:
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., ::4, ::4] = True
    return Measurements(torch.full(mask.shape, -0.2, dtype=dtype), mask).with_noise(0.05)


COUNTS = [0, -1, 1.5, True, 10**9, "3", None, float("nan"), [2]]


@pytest.mark.parametrize("value", COUNTS)
def test_a_count_is_a_whole_number(value: object) -> None:
    with pytest.raises(InputError, match="steps: found"):
        check_count("steps", value)
    assert check_count("steps", np.int64(3)) == 3


@pytest.mark.parametrize("name", ["num_inference_steps", "num_samples"])
@pytest.mark.parametrize("value", COUNTS[:5])
def test_counts_of_the_generator(generates: RadioDiffPipeline, name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        generates(np.zeros((16, 16)), (3, 3), **{name: value})


@pytest.mark.parametrize("name", ["num_inference_steps", "num_particles", "batch_limit"])
@pytest.mark.parametrize("value", COUNTS[:5])
def test_counts_of_the_inverse(inverts: RadioDiffInversePipeline, name: str, value: object) -> None:
    with pytest.raises(InputError, match=name):
        inverts(measured(), **({"num_particles": 1, "num_inference_steps": 1} | {name: value}))


@pytest.mark.parametrize("generator", [0, "seed", np.random.default_rng(0), [1], [None]])
def test_other_generators_are_refused(
    generates: RadioDiffPipeline, inverts: RadioDiffInversePipeline, generator: object
) -> None:
    with pytest.raises(InputError, match="generator: found a"):
        generates(np.zeros((16, 16)), (3, 3), generator=generator)
    with pytest.raises(InputError, match="generator: found a"):
        inverts(measured(), num_particles=1, num_inference_steps=1, generator=generator)


@pytest.mark.parametrize(
    "prompt",
    [
        np.zeros((1, 3, 16, 16)),
        torch.zeros(3, 16, 16),
        torch.zeros(1, 2, 16, 16),
        torch.zeros(0, 3, 16, 16),
        torch.zeros(1, 3, 0, 16),
        torch.zeros(1, 3, 16, 16, device="meta"),
        torch.full((1, 3, 16, 16), torch.nan),
    ],
)
def test_what_is_no_prompt_is_refused(generates: RadioDiffPipeline, prompt: object) -> None:
    with pytest.raises(InputError, match="prompt: "):
        generates.generate(prompt)


def test_tensors_without_values_are_refused(generates: RadioDiffPipeline) -> None:
    with pytest.raises(InputError, match="meta"):
        generates(torch.zeros(16, 16, device="meta"), (3, 3))
    with pytest.raises(InputError, match="meta"):
        Measurements.from_array(torch.zeros(16, 16, device="meta"), "gray")
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(InputError, match="meta"):
        Measurements(torch.zeros(1, 1, 4, 4, device="meta"), mask)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(0, 1, 4, 4), "at least one map"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), "floating-point"),
        (torch.full((1, 1, 4, 4), torch.inf), "not finite"),
        (torch.zeros(1, 4, 4), "shape"),
    ],
)
def test_what_are_no_measurements_is_refused(values: torch.Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Measurements(values, torch.ones(values.shape, dtype=torch.bool))


def test_plain_tensors_are_refused_as_measurements(inverts: RadioDiffInversePipeline) -> None:
    with pytest.raises(InputError, match="found a Tensor"):
        inverts(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_no_threshold_is_refused(inverts: RadioDiffInversePipeline, threshold: float) -> None:
    with pytest.raises(InputError, match="shadow_threshold"):
        inverts(measured(), num_particles=1, num_inference_steps=1, shadow_threshold=threshold)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_measurements_of_other_precisions_work(
    inverts: RadioDiffInversePipeline, dtype: torch.dtype
) -> None:
    out = inverts(
        measured(dtype),
        num_particles=1,
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.isfinite(out.mean).all()


@pytest.mark.parametrize(
    "arguments",
    [
        {"xy": [[np.nan, 0]], "power": [-80]},
        {"xy": [[0, 0]], "power": [1e308]},
        {"xy": [[0, 0]], "power": [np.inf]},
        {"xy": [[1e308, 0], [-1e308, 0]], "power": [-80, -80]},
        {"xy": [[0, 0]], "power": [-80], "origin": (np.nan, 0)},
        {"xy": [[0, 0]], "power": [-80], "resolution_m": np.nan},
        {"xy": [[0, 0]], "power": [-80], "resolution_m": np.inf},
        {"xy": [[0, 0]], "power": [-80], "noise_std_db": -1},
        {"xy": [[0, 0]], "power": [10**400]},
        {"xy": [], "power": []},
        {"xy": [["a", "b"]], "power": [1]},
    ],
)
def test_points_that_are_none_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError) as error:
        Measurements.from_points(**arguments)
    assert len(str(error.value).splitlines()) == 1


def test_no_advice_to_load_without_the_safeguard(tmp_path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"x": np.float64}, path)
    for content in (path.read_bytes(), b"PK\x03\x04", b"", b"\x80\x04cos\nsystem\n."):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_checkpoint(path)
        assert "weights_only" not in str(error.value)
        assert len(str(error.value).splitlines()) == 1
