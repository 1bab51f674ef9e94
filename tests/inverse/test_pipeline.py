import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput

from radiodiff.data.measurements import Measurements, combine_points, measure
from radiodiff.data.points import PointMeasurements
from radiodiff.errors import InputError
from radiodiff.inverse.output import InverseOutput
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.presets import MEAN_MAP
from radiodiff.inverse.prior import PatchUNet, build_noise_schedule
from radiodiff.inverse.samplers import Combined, FixedLevel, IndependentNoise, Published
from radiodiff.inverse.settings import RefinementSettings
from radiodiff.simulate.dominant_path import path_gain
from radiodiff.units import db_to_model


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(0)
    pipeline = RadioDiffInversePipeline(
        PatchUNet(32, block_out_channels=(32, 64)).eval(), build_noise_schedule()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def measurements():
    generator = torch.Generator().manual_seed(1)
    gain = torch.rand((2, 1, 32, 32), generator=generator) * 2 - 1
    mask = torch.rand(gain.shape, generator=generator) < 0.3
    return measure(gain, mask, 0.05, generator)


def generators(count=2):
    return [torch.Generator().manual_seed(b) for b in range(count)]


def test_call_returns_the_moments_of_its_samples(pipeline, measurements):
    out = pipeline(measurements, num_particles=3, num_inference_steps=4, generator=generators())
    assert out.samples.shape == (2, 3, 1, 32, 32)
    torch.testing.assert_close(out.mean, out.samples.mean(dim=1))
    torch.testing.assert_close(out.std, out.samples.std(dim=1, correction=0))
    torch.testing.assert_close(out.quantile(0.5), out.samples.median(dim=1).values)
    assert out.building_mask.dtype == torch.bool
    assert out.building_mask.shape == (2, 1, 32, 32)
    assert out.transmitter.shape == (2, 2)


def test_saved_pipeline_gives_the_same_result(pipeline, measurements, tmp_path):
    pipeline.save_pretrained(tmp_path)
    again = RadioDiffInversePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    run = {"num_particles": 2, "num_inference_steps": 3}
    first = pipeline(measurements, generator=generators(), **run)
    second = again(measurements, generator=generators(), **run)
    torch.testing.assert_close(first.samples, second.samples)


def test_a_tuple_holds_the_fields_of_the_output_in_their_order(pipeline, measurements):
    run = {"num_particles": 2, "num_inference_steps": 3}
    out = pipeline(measurements, generator=generators(), **run)
    mean, std, samples, *_, scale = pipeline(
        measurements, generator=generators(), return_dict=False, **run
    )
    for found, expected in ((mean, out.mean), (std, out.std), (samples, out.samples)):
        torch.testing.assert_close(found, expected)
    assert scale == out.scale
    updated = pipeline.update(out, measurements, num_inference_steps=4, return_dict=False)
    assert len(updated) == len(out.to_tuple())
    assert updated[0].shape == out.mean.shape


def test_progress_is_reported_after_every_network_call(measurements):
    calls, seen = [], []

    class Counted(PatchUNet):
        def forward(self, *args, **options):
            calls.append(len(seen))
            return super().forward(*args, **options)

    pipeline = RadioDiffInversePipeline(
        Counted(32, block_out_channels=(32, 64)).eval(), build_noise_schedule()
    )
    pipeline.set_progress_bar_config(disable=True)
    run = {"num_inference_steps": 4, "sampler": IndependentNoise()}
    out = pipeline(measurements, num_particles=2, progress=lambda *at: seen.append(at), **run)
    # The nth call is made when n - 1 steps are reported.
    assert calls == list(range(len(calls)))
    assert seen == [(done, len(calls)) for done in range(1, len(calls) + 1)]

    def interrupt(done, total):
        if done == 1:
            raise KeyboardInterrupt

    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        pipeline.update(out, measurements, progress=interrupt, **run)
    assert len(calls) == 1


def test_any_ddpm_directory_is_a_prior(measurements, tmp_path):
    unet = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
    )
    DDPMPipeline(unet, build_noise_schedule()).save_pretrained(tmp_path)
    pipeline = RadioDiffInversePipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    out = pipeline(measurements, num_particles=2, num_inference_steps=2)
    assert out.mean.shape == (2, 1, 32, 32)


@pytest.fixture(scope="module")
def level_pipeline():
    """An untrained prior of levels: it gives the linear estimate."""
    prior = PatchUNet(32, block_out_channels=(32,), attention=False, level_map=True)
    pipeline = RadioDiffInversePipeline(
        prior.eval(), build_noise_schedule(prediction_type="v_prediction")
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_priors_of_levels_hold_their_measurements(level_pipeline, measurements):
    run = {"num_particles": 2, "num_inference_steps": 4}
    default, preset, fixed_level, independent = (
        level_pipeline(measurements, generator=generators(), **options, **run).samples
        for options in (
            {},
            {"sampler": MEAN_MAP.sampler, "refinement": MEAN_MAP.refinement},
            {"sampler": FixedLevel()},
            {"sampler": IndependentNoise()},
        )
    )
    torch.testing.assert_close(default, preset)
    assert not torch.allclose(fixed_level, independent, atol=1e-2)


def test_a_preset_gives_its_steps_and_particles(level_pipeline, measurements):
    calls = []
    handle = level_pipeline.unet.register_forward_hook(lambda *call: calls.append(1))
    given, plain = (
        level_pipeline(measurements, generator=generators(), **options).samples
        for options in (dict(MEAN_MAP), {})
    )
    handle.remove()
    assert given.shape[1] == MEAN_MAP.num_particles
    assert len(calls) >= 2 * MEAN_MAP.num_inference_steps
    torch.testing.assert_close(given, plain)


def test_walls_part_the_samples_into_buildings_and_streets(level_pipeline):
    generator = torch.Generator().manual_seed(2)
    gain = torch.full((2, 1, 32, 32), -0.3)
    gain[0, 0, 8:22, 6:20] = -1.0  # the second map has no building
    given = measure(gain, torch.rand(gain.shape, generator=generator) < 0.5, 0.05, generator)
    run = {"num_particles": 3, "num_inference_steps": 3}
    run["sampler"] = FixedLevel()
    plain = level_pipeline(given, generator=generators(), **run)
    walls = RefinementSettings(walls=True)
    out = level_pipeline(given, generator=generators(), refinement=walls, **run)
    probability = out.building_probability[0]
    assert ((probability > 0) & (probability < 1)).any()
    torch.testing.assert_close(out.building_mask[0], probability > 0.5)
    assert (out.samples[0][:, probability == 1] == -1.0).all()
    assert (out.samples[0][:, probability == 0] > -1.0).all()
    assert (out.mean[0][probability == 1] == -1.0).all()
    assert (out.std[0][probability == 1] == 0.0).all()
    torch.testing.assert_close(out.samples[1], plain.samples[1])
    torch.testing.assert_close(out.mean[1], plain.mean[1])
    # Buildings that are given need no walls.
    buildings = gain == -1.0
    run = {"buildings": buildings, "num_particles": 2, "num_inference_steps": 3}
    run["sampler"] = FixedLevel()
    known = level_pipeline(given, generator=generators(), refinement=walls, **run)
    same = level_pipeline(given, generator=generators(), **run)
    torch.testing.assert_close(known.samples, same.samples)


@pytest.fixture(scope="module")
def lawful():
    """A map of 32 x 32 that keeps the path-loss model, and measurements on half of it."""
    generator = torch.Generator().manual_seed(3)
    buildings = torch.zeros(32, 32, dtype=torch.bool)
    buildings[9:20, 14:24] = True
    gain = torch.from_numpy(db_to_model(path_gain(buildings.numpy(), (24, 8))))[None, None]
    return (
        gain,
        buildings[None, None],
        measure(gain, torch.rand(gain.shape, generator=generator) < 0.5, 0.05, generator),
    )


@pytest.mark.parametrize("known", [True, False])
def test_the_path_loss_model_brings_the_map_nearer_to_the_truth(level_pipeline, lawful, known):
    gain, buildings, measured = lawful
    run = {"buildings": buildings if known else None, "num_particles": 4, "num_inference_steps": 3}
    without, out = (
        level_pipeline(
            measured,
            generator=generators(1),
            sampler=FixedLevel(),
            refinement=RefinementSettings(walls=True, path_loss_model=path_loss_model),
            **run,
        )
        for path_loss_model in (False, True)
    )
    lit = ~buildings if known else out.building_probability < 0.02
    error, before = ((o.mean - gain)[lit].square().mean() for o in (out, without))
    assert error < 0.5 * before
    half = 1.64 * out.std
    assert ((out.mean - gain).abs() <= half)[lit].float().mean() > 0.6
    if known:
        assert (out.samples[:, :, buildings[0]] == -1.0).all()
        torch.testing.assert_close(out.mean, out.samples.mean(dim=1), atol=1e-5, rtol=0)
        torch.testing.assert_close(out.std, out.samples.std(dim=1, correction=0), atol=1e-5, rtol=0)
    else:
        assert ((out.building_probability > 0.5) == out.building_mask).all()


def test_the_path_loss_model_leaves_maps_alone_that_it_does_not_know(level_pipeline, lawful):
    _, buildings, measured = lawful
    run = {"num_particles": 2, "num_inference_steps": 2}
    # Without buildings nothing is computed, and tiles are no prediction of a whole area.
    for options in ({"tile_overlap": 8, "buildings": buildings}, {}):
        plain, path_loss_model = (
            level_pipeline(
                measured,
                generator=generators(1),
                sampler=FixedLevel(),
                refinement=RefinementSettings(path_loss_model=path_loss_model),
                **run,
                **options,
            )
            for path_loss_model in (False, True)
        )
        torch.testing.assert_close(path_loss_model.samples, plain.samples)
        torch.testing.assert_close(path_loss_model.mean, plain.mean)


def test_known_buildings_are_fixed(pipeline, measurements):
    buildings = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    buildings[..., 3:9, 4:12] = True
    out = pipeline(
        measurements, buildings=buildings, num_particles=2, num_inference_steps=3, generator=None
    )
    assert torch.equal(out.building_mask, buildings.expand(2, -1, -1, -1))
    inside = buildings.expand(2, -1, -1, -1)[:, None].expand_as(out.samples)
    assert (out.samples[inside] == -1).all()


def test_update_repeats_part_of_the_steps_and_takes_the_new_values(pipeline, measurements):
    calls = []
    handle = pipeline.unet.register_forward_hook(lambda *_: calls.append(1))
    run = {"num_inference_steps": 100, "generator": generators()}
    out = pipeline(measurements, num_particles=2, **run)
    full = len(calls)
    new = Measurements(
        torch.full_like(measurements.values, 0.5), ~measurements.mask, measurements.noise_std / 1e3
    )
    updated = pipeline.update(out, new, **run)
    handle.remove()
    assert len(calls) - full <= 0.4 * full
    assert updated.measurements.mask.all()
    seen = new.mask[:, None].expand_as(updated.samples)
    assert float((updated.samples[seen] - 0.5).abs().max()) < 0.01


def test_measurements_between_the_pixels_are_taken_where_they_are(pipeline):
    """On slopes, a measurement taken at the nearest centre is wrong by up to half a step of
    them."""
    rng = np.random.default_rng(0)
    gain = np.abs(np.indices((32, 32)).sum(axis=0) % 16 - 8) / 4.0 - 1.0
    positions = rng.uniform(0, 31, (900, 2))
    values = (
        PointMeasurements(positions, np.zeros(900), np.ones(900), (32, 32)).matrix @ gain.ravel()
    )
    halves = [
        combine_points(positions[part], values[part], 0.01, (32, 32))
        for part in (slice(600), slice(600, None))
    ]
    run = {"num_inference_steps": 20, "generator": generators(1)}
    run["sampler"] = Combined(spacing="log_snr")
    first = pipeline(halves[0], num_particles=2, **run)
    second = pipeline.update(first, halves[1], **run)
    assert len(second.measurements.points[0].values) == 900
    matrix = second.measurements.points[0].matrix
    for out, count in ((first, 600), (second, 900)):
        made = matrix[:count] @ out.mean[0, 0].double().numpy().ravel()
        assert np.abs(made - values[:count]).mean() < 0.01
    at_centres = gain[tuple(np.rint(positions).astype(int).T)]
    assert np.abs(at_centres - values).mean() > 0.05


def posterior(samples: torch.Tensor, measurements: Measurements) -> InverseOutput:
    """The output of one map with three samples of weights 1/2, 1/4 and 1/4."""
    zero = torch.zeros_like(measurements.values)
    return InverseOutput(
        mean=zero,
        std=zero,
        samples=samples,
        log_weights=torch.tensor([[0.5, 0.25, 0.25]]).double().log(),
        building_mask=zero > 0,
        building_probability=zero,
        shadow_threshold=torch.zeros(1),
        transmitter=torch.zeros(1, 2),
        transmitter_std=torch.zeros(1, 2),
        measurements=measurements,
        buildings=None,
    )


def test_quantiles_follow_the_weights():
    samples = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1, 1)
    zero = torch.zeros(1, 1, 1, 1)
    out = posterior(samples, Measurements(zero, zero == 0))
    # Middles of the weights: 0.25, 0.625, 0.875.
    found = [float(out.quantile(p)) for p in (0.1, 0.25, 0.4375, 0.75, 0.95)]
    assert found == pytest.approx([0.0, 0.0, 0.5, 1.5, 2.0])


def test_the_outdoor_mean_leaves_samples_out_that_draw_a_building():
    # Measured is the first pixel, 0, so that a sample below -1/2 draws a building.
    values = torch.zeros(1, 1, 1, 5)
    measurements = Measurements(values, torch.arange(5).view_as(values) == 0)
    samples = torch.tensor(
        [
            [0.0, -1.0, -1.0, -0.9, 0.6],
            [0.0, 0.2, -1.0, -0.7, -0.6],
            [0.0, 0.4, -0.8, -1.0, -0.6],
        ]
    ).view(1, 3, 1, 1, 5)
    out = posterior(samples, measurements)
    # Pixels that every sample fills take the value of the nearest other one.
    assert out.outdoor_mean().flatten().tolist() == pytest.approx([0.0, 0.3, 0.3, 0.6, 0.6])
    # Where every sample draws nothing but buildings, the mean is all there is.
    nothing = posterior(torch.full_like(samples, -1.0), measurements)
    assert nothing.outdoor_mean().tolist() == nothing.mean.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_std": -1.0}, "noise_std is -1"),
        ({"noise_std": float("nan")}, "noise_std is nan"),
        ({"num_inference_steps": 0}, "num_inference_steps: found 0"),
        ({"num_particles": 0}, "num_particles: found 0"),
        ({"generator": [torch.Generator()]}, "1 generators for 2 maps"),
        ({"buildings": torch.zeros(1, 1, 8, 8, dtype=torch.bool)}, "buildings have shape"),
        ({"buildings": torch.zeros(1, 1, 32, 32)}, "needed is a bool mask"),
    ],
)
def test_impossible_arguments_are_refused(pipeline, measurements, arguments, message):
    with pytest.raises(InputError, match=message):
        pipeline(measurements, **arguments)


def test_maps_of_another_size_and_missing_noise_are_refused(pipeline):
    other = Measurements(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool))
    with pytest.raises(InputError, match="no noise level"):
        pipeline(other)
    with pytest.raises(InputError, match="16 x 16, this prior is for 32 x 32"):
        pipeline(other, noise_std=0.1)


@pytest.mark.parametrize("sampler", [Published(), IndependentNoise()])
def test_network_that_breaks_down_names_the_step(pipeline, measurements, sampler):
    handle = pipeline.unet.register_forward_hook(
        lambda *args: UNet2DOutput(sample=args[-1].sample * float("nan"))
    )
    with pytest.raises(InputError, match="step 1"):
        pipeline(measurements, num_inference_steps=2, sampler=sampler)
    handle.remove()


@pytest.mark.parametrize("shape", [(40, 70), (20, 24), (32, 32)])
def test_maps_of_other_sizes_are_tiled_or_extended(pipeline, shape):
    generator = torch.Generator().manual_seed(1)
    gain = torch.rand((1, 1, *shape), generator=generator) * 2 - 1
    given = measure(gain, torch.rand(gain.shape, generator=generator) < 0.5, 0.05, generator)
    run = {"num_particles": 2, "num_inference_steps": 3, "tile_overlap": 8}
    out = pipeline(given, generator=generators(1), **run)
    assert out.samples.shape == (1, 2, 1, *shape)
    assert out.building_mask.shape == out.mean.shape == gain.shape
    updated = pipeline.update(out, given, num_inference_steps=3, tile_overlap=8)
    assert updated.mean.shape == gain.shape
    if shape == (32, 32):
        plain = pipeline(given, generator=generators(1), **{**run, "tile_overlap": None})
        torch.testing.assert_close(out.samples, plain.samples, atol=1e-5, rtol=1e-5)


def test_the_output_is_in_decibels_too(pipeline, measurements):
    output = pipeline(measurements, num_particles=3, num_inference_steps=2)
    torch.testing.assert_close(output.path_gain_db, -147 + 99.16 * (output.mean + 1) / 2)
    torch.testing.assert_close(output.std_db, 99.16 / 2 * output.std)
    median = -147 + 99.16 * (output.quantile(0.5) + 1) / 2
    torch.testing.assert_close(output.quantile_db(0.5), median)
    with pytest.raises(InputError, match=r"probability: found 1\.5"):
        output.quantile(1.5)


def test_a_plain_tensor_and_decibels_in_model_range_get_one_line(pipeline):
    with pytest.raises(InputError, match=r"found a Tensor; make them with Measurements\.from_"):
        pipeline(torch.zeros(1, 1, 32, 32))
    mask = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    decibels = Measurements(torch.full((1, 1, 32, 32), -80.0), mask)
    with pytest.raises(InputError, match=r"is -80, outside the model range \[-1, 1\]"):
        pipeline(decibels, noise_std=0.05)
    double = Measurements(torch.zeros(1, 1, 32, 32, dtype=torch.float64), mask)
    output = pipeline(double, 0.05, num_particles=1, num_inference_steps=1)
    assert output.mean.dtype == torch.float32
