import copy

import numpy as np
import pytest
import torch

from radiodiff.data.prompts import build_prompt
from radiodiff.diffusion.decoupled import DecoupledScheduler
from radiodiff.diffusion.pairwise import path_gain_between
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.errors import InputError
from radiodiff.models.correction import PathLossCorrection
from radiodiff.models.denoiser import DecoupledUNet
from radiodiff.models.vae import build_vae
from radiodiff.units import GAIN_MAX_DB, GAIN_MIN_DB

SIZE = (32, 48)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(attenuation: str = "constant", features=("buildings", "transmitter", "vehicles")):
    vae = build_vae(widths=(8, 16), layers_per_block=1, norm_groups=4, latent_scale=0.5)
    denoiser = DecoupledUNet(
        dim=8,
        dim_mults=(1, 2),
        prompt_channels=len(features),
        prompt_encoder="convolutional",
        prompt_stride=2,
        window_sizes=(2, 1),
        filter_size=(8, 12),
        attenuation=attenuation,
    )
    g = generator()
    for parameter in [*vae.parameters(), *denoiser.parameters()]:
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, parameter[0].numel() ** -0.5, generator=g)
    return RadioDiffPipeline(vae, denoiser, DecoupledScheduler(attenuation), features)


@pytest.fixture(scope="module")
def pipe():
    return build()


@pytest.fixture
def buildings():
    mask = np.zeros(SIZE, dtype=bool)
    mask[4:10, 6:20] = mask[20:28, 30:40] = True
    return mask


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    # Convolutions round differently for every batch size and memory layout.
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_output_units(pipe, buildings):
    out = pipe(buildings, (15, 25), generator=generator())
    for maps in (out.path_gain_db, out.gray, out.model):
        assert maps.shape == (1, *SIZE)
        assert maps.dtype == torch.float32
    assert 0 <= out.gray.min() < out.gray.max() <= 1
    torch.testing.assert_close(out.model, 2 * out.gray - 1)
    expected = GAIN_MIN_DB + (GAIN_MAX_DB - GAIN_MIN_DB) * out.gray
    torch.testing.assert_close(out.path_gain_db, expected)
    assert out.gray.std() > 0.01


@pytest.mark.parametrize("mode", ["released", "sample"])
def test_a_map_does_not_depend_on_its_batch(pipe, buildings, mode):
    """Per-sample generators: 2 scenes of 2 samples at once, and each map alone."""
    scenes = np.stack([buildings, np.roll(buildings, 3, axis=1)])
    transmitters = [(15, 25), (0, 0)]
    together = pipe(
        scenes, transmitters, num_samples=2, mode=mode, generator=[generator(i) for i in range(4)]
    ).gray
    for index in range(4):
        scene = index // 2
        alone = pipe(
            scenes[scene], transmitters[scene], mode=mode, generator=[generator(index)]
        ).gray
        assert_close(together[index : index + 1], alone)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_one_scene_serves_a_batch_of_transmitters(pipe, buildings):
    points = np.array([[15, 25], [0, 0]])
    cars = np.zeros(SIZE, dtype=np.uint8)
    cars[16, 5:9] = 1
    noise = [generator(0), generator(1)]
    together = pipe(torch.from_numpy(buildings), torch.from_numpy(points), cars, generator=noise)
    alone = pipe(buildings, points[1], cars[None], generator=generator(1))
    assert_close(together.gray[1:], alone.gray)
    static = pipe(buildings, points[1], generator=generator(1))
    assert (static.gray - alone.gray).abs().max() > 1e-3


def test_prompt_is_encoded_once_and_used(pipe, buildings, monkeypatch):
    calls = []
    encode = pipe.denoiser.encode_prompt
    monkeypatch.setattr(
        pipe.denoiser, "encode_prompt", lambda *args: calls.append(args[0].shape) or encode(*args)
    )
    out = pipe(buildings, (15, 25), num_inference_steps=3, num_samples=2, generator=generator())
    assert calls == [(1, 3, *SIZE)]
    moved = pipe(buildings, (0, 40), num_inference_steps=3, num_samples=2, generator=generator())
    assert (out.gray - moved.gray).abs().max() > 1e-3


def test_pipeline_runs_the_scheduler_over_the_latents(pipe, buildings):
    """The same map from the parts, one after the other."""
    pipe.denoiser.eval()
    pipe.vae.eval()
    prompt = build_prompt(pipe.config.prompt_features, buildings, (15, 25))[None]
    g = generator(3)
    z = torch.randn(1, 3, 16, 24, generator=g)
    scheduler = DecoupledScheduler()
    scheduler.set_timesteps(4)
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = pipe.denoiser(z, t[None], prompt)
            z = scheduler.step(prediction, t, z, g).prev_sample
        expected = pipe.vae.decode(z / 0.5).sample[:, 0].clamp(-1, 1)
    out = pipe(buildings, (15, 25), num_inference_steps=4, generator=generator(3))
    assert_close(out.model, expected)


def test_generate_takes_prompts_that_are_already_stacked(pipe, buildings):
    prompts = [
        build_prompt(pipe.config.prompt_features, buildings, point) for point in ((15, 25), (0, 0))
    ]
    noise = [generator(0), generator(1)]
    out = pipe.generate(torch.stack(prompts), generator=noise)
    noise = [generator(0), generator(1)]
    assert_close(out.gray, pipe(buildings, [(15, 25), (0, 0)], generator=noise).gray)
    with pytest.raises(InputError, match="prompt: found"):
        pipe.generate(torch.zeros(1, 2, *SIZE))


def test_mode_overrides_the_scheduler_for_one_call(pipe, buildings):
    out = pipe(buildings, (15, 25), mode="sample", generator=generator())
    other = copy.copy(pipe)
    other.scheduler = DecoupledScheduler(mode="sample")
    assert_close(out.gray, other(buildings, (15, 25), generator=generator()).gray)
    default = pipe(buildings, (15, 25), generator=generator())
    assert (out.gray - default.gray).abs().max() > 1e-3
    other.scheduler = DecoupledScheduler(sampler="probability_flow", grid_power=3.0)
    back = other(buildings, (15, 25), mode="released", generator=generator())
    assert_close(back.gray, default.gray)


def test_building_interiors_can_be_zeroed(pipe, buildings):
    kept = pipe(buildings, (15, 25), num_samples=2, generator=generator())
    out = pipe(buildings, (15, 25), num_samples=2, generator=generator(), zero_buildings=True)
    inside = torch.from_numpy(buildings).expand(2, -1, -1)
    assert kept.gray[inside].max() > 0
    assert out.gray[inside].max() == 0
    torch.testing.assert_close(
        out.path_gain_db[inside], torch.full((int(inside.sum()),), GAIN_MIN_DB)
    )
    torch.testing.assert_close(out.gray[~inside], kept.gray[~inside])


def test_a_pipeline_may_be_saved_as_one_that_zeroes_buildings(pipe, buildings, tmp_path):
    zeroing = RadioDiffPipeline(
        pipe.vae, pipe.denoiser, pipe.scheduler, pipe.config.prompt_features, zero_buildings=True
    )
    zeroing.save_pretrained(tmp_path)
    loaded = RadioDiffPipeline.from_pretrained(tmp_path)
    points = [(15, 25), (20, 6)]
    expected = pipe(buildings, points, generator=generator(), zero_buildings=True).gray
    assert_close(loaded(buildings, points, generator=generator()).gray, expected)
    prompt = torch.stack(
        [build_prompt(loaded.config.prompt_features, buildings, point) for point in points]
    )
    assert_close(loaded.generate(prompt, generator=generator()).gray, expected)
    kept = loaded(buildings, points, generator=generator(), zero_buildings=False).gray
    assert_close(kept, pipe(buildings, points, generator=generator()).gray)
    with pytest.raises(InputError, match="lack 'buildings'"):
        RadioDiffPipeline(
            pipe.vae, pipe.denoiser, pipe.scheduler, ("distance",) * 3, zero_buildings=True
        )


def test_generation_leaves_training_networks_as_they_were(pipe, buildings):
    pipe.denoiser.train()
    pipe.denoiser.pyramid.eval()
    before = copy.deepcopy(pipe.denoiser.state_dict())
    pipe(buildings, (15, 25), generator=generator())
    assert pipe.denoiser.training
    assert not pipe.denoiser.pyramid.training
    for key, value in pipe.denoiser.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("attenuation", ["constant", "linear"])
def test_saved_pipeline_is_the_same(buildings, tmp_path, attenuation):
    features = ["buildings", "transmitter", "distance"]
    pipe = build(attenuation, features)
    pipe.save_pretrained(tmp_path)
    loaded = RadioDiffPipeline.from_pretrained(tmp_path)
    assert loaded.config.prompt_features == features
    assert loaded.vae.config.scaling_factor == 0.5
    assert loaded.scheduler.config.attenuation == attenuation
    out = pipe(buildings, (15, 25), generator=generator())
    assert_close(loaded(buildings, (15, 25), generator=generator()).gray, out.gray)


def test_bfloat16_stays_close_to_float32(pipe, buildings, tmp_path):
    pipe.save_pretrained(tmp_path)
    half = RadioDiffPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.denoiser.dtype == half.vae.dtype == torch.bfloat16
    out = half(buildings, (15, 25), generator=generator())
    reference = pipe(buildings, (15, 25), generator=generator())
    assert out.gray.dtype == torch.float32
    assert (out.gray - reference.gray).square().mean().sqrt() < 0.01


def test_path_gain_between_reads_the_moved_transmitters(pipe, buildings):
    """Against the maps of every point, generated in the same order."""
    a, b = [(15, 25), (0, 0)], [(31, 47), (15, 25), (1, 2)]
    out = path_gain_between(pipe, a, b, buildings, generator=generator(), batch_size=8)
    points = sorted({*a, *b})
    maps = pipe(buildings, points, generator=generator()).path_gain_db
    gain = {p: {q: maps[i][q].item() for q in points} for i, p in enumerate(points)}
    forward = torch.tensor([[gain[p][q] for q in b] for p in a])
    backward = torch.tensor([[gain[q][p] for q in b] for p in a])
    torch.testing.assert_close(out.forward_db, forward, rtol=0, atol=1e-2)
    torch.testing.assert_close(out.backward_db, backward, rtol=0, atol=1e-2)
    torch.testing.assert_close(out.path_gain_db, (out.forward_db + out.backward_db) / 2)
    # The pair (15, 25)-(15, 25) is one point; it is the only one left out.
    errors = (out.forward_db - out.backward_db).flatten()[[0, 2, 3, 4, 5]]
    assert out.reciprocity_rmse_db == pytest.approx(errors.square().mean().sqrt().item(), rel=1e-4)


def test_path_gain_between_two_points(pipe, buildings):
    out = path_gain_between(pipe, (0, 0), (15, 25), buildings, generator=generator(), batch_size=1)
    back = path_gain_between(pipe, (15, 25), (0, 0), buildings, generator=generator(), batch_size=1)
    assert out.path_gain_db.shape == (1, 1)
    assert_close(out.path_gain_db, back.path_gain_db)


def test_a_map_smaller_than_those_of_training_is_made_in_its_mirrored_scene(pipe):
    buildings = np.zeros((16, 20), dtype=bool)
    buildings[2:9, 5:12] = True
    mirrored = np.pad(buildings, ((0, 16), (0, 28)), mode="reflect")
    assert pipe.prompt_size((16, 20)) == mirrored.shape == SIZE
    small = pipe(buildings, (12, 3), num_inference_steps=2, generator=generator())
    large = pipe(mirrored, (12, 3), num_inference_steps=2, generator=generator())
    assert_close(small.gray, large.gray[:, :16, :20])
    features = pipe.config.prompt_features
    prompt = build_prompt(features, buildings, (12, 3), min_size=SIZE)[None]
    made = pipe.generate(prompt, 2, generator=generator(), size=(16, 20))
    assert_close(made.gray, small.gray)


@pytest.mark.parametrize("size", [(33, 42), (7, 50), (64, 96)])
def test_maps_of_any_size_are_made(pipe, size):
    out = pipe(np.zeros(size), (3, 4), num_inference_steps=1, generator=generator())
    assert out.gray.shape == (1, *size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transmitter": (5, 10)}, r"\(5, 10\) is inside a building"),
        ({"transmitter": (32, 0)}, "outside the map"),
        ({"transmitter": (1, 2, 3)}, r"transmitter: shape \(3,\)"),
        ({"transmitter": [(0, 0), (1,)]}, r"transmitter: expected \(row, column\)"),
        ({"transmitter": [(0, 0)] * 3}, "buildings: found a batch of 2, expected 1 or 3"),
        ({"vehicles": np.full(SIZE, 0.3)}, "vehicles: not a binary mask"),
        ({"vehicles": np.zeros((8, 8))}, r"vehicles: shape \(8, 8\)"),
        ({"buildings": np.full(SIZE, 7)}, "buildings: not a binary mask"),
        ({"buildings": np.zeros(32)}, r"buildings: shape \(32,\)"),
        ({"num_inference_steps": 0}, "num_inference_steps: found 0"),
        ({"num_samples": 0}, "num_samples: found 0"),
        ({"generator": [generator()]}, "1 generators for 2 maps"),
    ],
)
def test_bad_input_is_one_clear_line(pipe, buildings, change, message):
    arguments = {"buildings": np.stack([buildings] * 2), "transmitter": (15, 25)} | change
    with pytest.raises(InputError, match=message) as error:
        pipe(**arguments)
    assert "\n" not in str(error.value)


def test_components_must_fit(pipe):
    scheduler = DecoupledScheduler()
    with pytest.raises(InputError, match="prompt features: found 1, the denoiser has 3"):
        RadioDiffPipeline(pipe.vae, pipe.denoiser, scheduler, ["buildings"])
    with pytest.raises(InputError, match="found 'height', allowed: buildings"):
        RadioDiffPipeline(pipe.vae, pipe.denoiser, scheduler, ["buildings", "height", "vehicles"])
    with pytest.raises(InputError, match="attenuation of the scheduler: found linear"):
        RadioDiffPipeline(pipe.vae, pipe.denoiser, DecoupledScheduler("linear"))
    with pytest.raises(InputError, match="latent channels of the vae: found 4"):
        RadioDiffPipeline(
            build_vae(widths=(8,), norm_groups=4, latent_channels=4), pipe.denoiser, scheduler
        )


def test_loading_something_else_is_refused(pipe, tmp_path):
    with pytest.raises(InputError, match=r"no model_index\.json"):
        RadioDiffPipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace("RadioDiffPipeline", "DDPMPipeline"))
    with pytest.raises(InputError, match="found a DDPMPipeline, expected a RadioDiffPipeline"):
        RadioDiffPipeline.from_pretrained(tmp_path)


def test_loading_weights_of_other_sizes_is_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    config = tmp_path / "denoiser" / "config.json"
    config.write_text(config.read_text().replace('"dim": 8', '"dim": 16'))
    with pytest.raises(InputError, match="denoiser: cannot be loaded as DecoupledUNet"):
        RadioDiffPipeline.from_pretrained(tmp_path)


def test_loading_without_a_component_is_refused(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    (tmp_path / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match="vae: cannot be loaded as AutoencoderKL"):
        RadioDiffPipeline.from_pretrained(tmp_path)


WITH_MODEL = ("buildings", "transmitter", "path_loss_model")


@pytest.fixture(scope="module")
def corrected():
    """A pipeline whose correction has learned something."""
    plain = build(features=WITH_MODEL)
    correction = PathLossCorrection(3, width=8, blocks=1)
    torch.nn.init.normal_(correction.head.weight, std=0.1, generator=generator())
    return RadioDiffPipeline(
        plain.vae, plain.denoiser, plain.scheduler, WITH_MODEL, correction=correction
    )


def test_a_correction_starts_from_the_path_loss_model(buildings):
    plain = build(features=WITH_MODEL)
    prompt = build_prompt(WITH_MODEL, buildings, (15, 25))[None]
    generated = plain.generate(prompt, 2, generator=generator()).model
    for gate in (0.2, 0.7):
        corrected = RadioDiffPipeline(
            plain.vae,
            plain.denoiser,
            plain.scheduler,
            WITH_MODEL,
            correction=PathLossCorrection(3, width=8, initial_gate=gate),
        ).generate(prompt, 2, generator=generator())
        inside = generated.abs() < 1  # the blend is made before the range is clipped
        expected = (1 - gate) * prompt[:, 2] + gate * generated
        torch.testing.assert_close(corrected.model[inside], expected[inside], atol=1e-5, rtol=0)


def test_a_correction_is_saved_and_loaded(corrected, buildings, tmp_path):
    corrected.save_pretrained(tmp_path / "with")
    loaded = RadioDiffPipeline.from_pretrained(tmp_path / "with")
    maps = [p(buildings, (15, 25), generator=generator()).model for p in (corrected, loaded)]
    torch.testing.assert_close(*maps, rtol=0, atol=1e-5)
    plain = build(features=WITH_MODEL)
    plain.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / "correction").exists()
    assert RadioDiffPipeline.from_pretrained(tmp_path / "without").correction is None


def test_samples_of_one_scene_are_corrected_by_its_prompt(corrected, buildings):
    noise = [generator(i) for i in range(4)]
    together = corrected(buildings, [(15, 25), (0, 0)], num_samples=2, generator=noise).model
    alone = corrected(buildings, (0, 0), generator=generator(3)).model
    assert_close(together[3:], alone)


def test_a_correction_needs_its_channel():
    plain = build()
    parts = (plain.vae, plain.denoiser, plain.scheduler)
    with pytest.raises(InputError, match="correction: the prompt features lack 'path_loss_model'"):
        RadioDiffPipeline(*parts, correction=PathLossCorrection(3, width=8))
    with pytest.raises(InputError, match="prompt features: found 3, the correction has 2"):
        RadioDiffPipeline(
            *parts, prompt_features=WITH_MODEL, correction=PathLossCorrection(2, width=8)
        )


def test_given_latents_take_the_place_of_the_noise_and_a_tuple_that_of_the_output(pipe, buildings):
    seeded = torch.Generator().manual_seed(3)
    shape = (1, pipe.vae.config.latent_channels, *(side // pipe._vae_stride for side in SIZE))
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    options = {"num_inference_steps": 1, "mode": "mean"}
    drawn = pipe(buildings, (15, 25), generator=seeded, **options)
    given = pipe(buildings, (15, 25), latents=latents, return_dict=False, **options)
    assert isinstance(given, tuple)
    for name, value in zip(("path_gain_db", "gray", "model"), given, strict=True):
        torch.testing.assert_close(value, getattr(drawn, name))
    with pytest.raises(InputError, match=r"latents: found \(1, 1, 2, 2\)"):
        pipe(buildings, (15, 25), latents=torch.zeros(1, 1, 2, 2), **options)
