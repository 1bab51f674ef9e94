from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from radiodiff.data.measurements import Measurements
from radiodiff.data.settings import DataConfig, MeasurementProtocol
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.evaluation.metrics import nmse
from radiodiff.experiments.methods import (
    METHODS,
    MapBatch,
    Method,
    load_method,
    predict_maps,
    register,
)
from radiodiff.experiments.settings import MethodSettings
from radiodiff.inverse.interpolation import kriging
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.models.baselines.pipeline import BaselinePipeline
from radiodiff.models.baselines.uvmnet import UVMNet
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae

PROTOCOL = MeasurementProtocol(missing_ratio=0.8, noise_std=0.02)


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory, write_radio_maps: Callable[..., Path]
) -> DataConfig:
    """Four maps of 32 x 32."""
    root = write_radio_maps(
        tmp_path_factory.mktemp("maps"), maps=(1, 2), transmitters=2, shape=(32, 32)
    )
    return DataConfig(root=root, split="all")


def run(method: Method, data: DataConfig, **options: object) -> Tensor:
    return torch.stack([one.gray for one in predict_maps(method, data, "test", **options)])


def test_interpolators_are_methods(data: DataConfig) -> None:
    maps = list(predict_maps(METHODS["kriging"], data, "test", protocol=PROTOCOL, max_maps=2))
    assert [one.name for one in maps] == ["1_0", "1_1"]
    assert all(nmse(one.gray, one.truth).item() < 0.2 for one in maps)
    assert all((one.truth[one.buildings] == 0).all() for one in maps)
    shown: list[Measurements] = []

    def record(batch: MapBatch) -> Tensor:
        assert batch.measurements is not None
        shown.append(batch.measurements)
        return torch.zeros(2, 32, 32)

    run(Method(record, ()), data, protocol=PROTOCOL, max_maps=2)
    (measured,) = shown
    model = kriging(measured.values[1, 0].numpy(), measured.mask[1, 0].numpy())
    expected = torch.from_numpy((model + 1) / 2).float().clamp(0, 1)
    assert torch.allclose(maps[1].gray, expected, atol=1e-6)
    with pytest.raises(InputError, match="needs measurements, and none are made"):
        run(METHODS["kriging"], data)


def test_a_custom_function_is_a_method(
    data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_methods.py").write_text(
        "def half(batch):\n    return 0 * batch.prompt[:, 0] + 0.5\n\nnumber = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    method = load_method(MethodSettings(source="my_methods:half"))
    assert (run(method, data) == 0.5).all()
    for source in ("my_methods:third", "no_such_module:half"):
        with pytest.raises(InputError, match="cannot be imported"):
            load_method(MethodSettings(source=source))
    with pytest.raises(InputError, match="neither a function nor a Method"):
        load_method(MethodSettings(source="my_methods:number"))


def test_methods_are_registered_by_name(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiodiff.experiments.methods.METHODS", dict(METHODS))
    register("mine", lambda batch: torch.full((len(batch.names), 32, 32), 0.25))
    assert (run(load_method(MethodSettings(source="mine")), data) == 0.25).all()
    with pytest.raises(InputError, match="'mine': the name is taken"):
        register("mine", lambda batch: batch.prompt[:, 0])
    with pytest.raises(InputError, match=r"no such folder, and none of nearest, .*, mine; a c"):
        load_method(MethodSettings(source="yours"))


def test_seeds_and_prompts_do_not_depend_on_the_batch(data: DataConfig) -> None:
    features = ("transmitter", "distance")

    def draw(batch: MapBatch) -> Tensor:
        assert batch.prompt.shape[1:] == (2, 32, 32)
        assert (batch.prompt[:, 0] == 1).flatten(1).sum(dim=1).eq(1).all()
        draws = [
            torch.rand(32, 32, generator=torch.Generator().manual_seed(s)) for s in batch.seeds
        ]
        return torch.stack(draws)

    method = Method(draw, prompt_features=features)
    maps = run(method, data, batch_size=4)
    assert torch.equal(maps, run(method, data, batch_size=3))
    assert torch.equal(maps[:2], run(method, data, max_maps=2))
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps, run(method, data, seed=1))


def test_what_is_no_map_is_refused(data: DataConfig) -> None:
    with pytest.raises(InputError, match=r"returned \(4, 3, 32, 32\), expected .* \(4, 32, 32\)"):
        run(Method(lambda batch: batch.prompt), data)
    with pytest.raises(InputError, match="returned NoneType"):
        run(Method(lambda batch: None), data)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="NaN or infinity"):
        run(Method(lambda batch: batch.prompt[:, 0] * torch.nan), data)
    wide = run(Method(lambda batch: 5 * batch.prompt[:, 0]), data)
    assert (wide.min(), wide.max()) == (0, 1)


@pytest.mark.parametrize("takes_measurements", [False, True])
def test_a_saved_baseline_is_a_method(
    takes_measurements: bool, data: DataConfig, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    aware = PROTOCOL.model_copy(update={"aware": True})
    network = UVMNet(2 + takes_measurements, (2, 3, 3), grid=4, states=2, hidden=2).eval()
    pipeline = BaselinePipeline(network, ["transmitter", "buildings"], takes_measurements)
    pipeline.save_pretrained(tmp_path)
    method = load_method(MethodSettings(source=str(tmp_path), dtype="float32"))
    assert method.prompt_features == ("transmitter", "buildings")
    assert method.needs_measurements == takes_measurements
    shown: list[MapBatch] = []

    def record(batch: MapBatch) -> Tensor:
        shown.append(batch)
        return batch.prompt[:, 0]

    run(Method(record, method.prompt_features), data, protocol=aware)
    maps = run(method, data, protocol=aware)
    (batch,) = shown
    assert torch.allclose(maps, pipeline(batch.prompt, batch.measurements), atol=1e-6)


def test_a_saved_radiodiff_is_a_method(data: DataConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    RadioDiffPipeline(
        vae=build_vae(widths=(8, 8), layers_per_block=1, norm_groups=4),
        denoiser=DecoupledUNet(
            latent_channels=3,
            dim=8,
            dim_mults=(1, 1),
            prompt_channels=1,
            prompt_encoder="convolutional",
            prompt_stride=2,
            window_sizes=(2, 1),
            filter_size=(8, 8),
        ),
        scheduler=DecoupledScheduler(),
        prompt_features=["distance"],
    ).save_pretrained(tmp_path)
    settings = MethodSettings(source=str(tmp_path), num_inference_steps=2, dtype="float32")
    method = load_method(settings)
    assert method.prompt_features == ("distance",)
    maps = run(method, data, batch_size=4)
    assert torch.allclose(maps, run(method, data, batch_size=1), atol=1e-5)
    other = load_method(settings.model_copy(update={"num_inference_steps": 1}))
    assert not torch.allclose(maps, run(other, data, batch_size=4), atol=1e-5)
    half = run(load_method(settings.model_copy(update={"dtype": "bfloat16"})), data, batch_size=4)
    assert 0 < (half - maps).abs().max() < 0.1


def test_a_saved_prior_is_a_method(data: DataConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    RadioDiffInversePipeline(
        unet=PatchUNet(32, patch_size=4, block_out_channels=(32,), attention=False),
        scheduler=build_noise_schedule(20),
    ).save_pretrained(tmp_path)
    settings = MethodSettings(
        source=str(tmp_path), num_inference_steps=3, num_particles=2, dtype="float32"
    )
    method = load_method(settings)
    maps = run(method, data, protocol=PROTOCOL, batch_size=2, max_maps=2)
    assert maps.shape == (2, 32, 32)
    one = run(method, data, protocol=PROTOCOL, batch_size=1, max_maps=2)
    assert torch.allclose(maps, one, atol=1e-4)
    fewer = load_method(settings.model_copy(update={"num_inference_steps": 1}))
    assert not torch.allclose(maps, run(fewer, data, protocol=PROTOCOL, max_maps=2), atol=1e-4)
    with pytest.raises(InputError, match="so no saved pipeline"):
        load_method(MethodSettings(source=str(tmp_path / "unet")))
