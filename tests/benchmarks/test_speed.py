"""What a map costs on one core: by the engine, by RadioDiff and by RadioDiff-Inverse.

    pytest -m speed tests/benchmarks

shows seconds, and ``--benchmark-json tests/benchmarks/reference.json`` writes ratios. Time is that
of the processor, so that other programs of the machine hardly count.
"""

import time

import numpy as np
import pytest
import torch

from radiodiff.benchmarks.simulate import scattered_buildings
from radiodiff.data.measurements import measure, pixel_mask
from radiodiff.data.polygons import rasterise
from radiodiff.diffusion.decoupled import sample
from radiodiff.diffusion.pipeline import RadioDiffPipeline
from radiodiff.inverse.pipeline import RadioDiffInversePipeline
from radiodiff.inverse.samplers import Published
from radiodiff.simulate.dominant_path import Layout
from radiodiff.units import MAP_SIZE, db_to_model

pytest.importorskip("pytest_benchmark")
pytestmark = [
    pytest.mark.speed,
    pytest.mark.benchmark(timer=time.process_time, warmup=False),
]


@pytest.fixture(autouse=True)
def one_core():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def buildings():
    polygons = scattered_buildings(80, np.random.default_rng(1))
    return rasterise(polygons, (MAP_SIZE, MAP_SIZE))


@pytest.fixture(scope="module")
def layout(buildings):
    layout = Layout.from_mask(buildings)
    layout.path_gain(tuple(layout.pixels[0]))  # compiles
    return layout


@pytest.fixture(scope="module")
def place(layout):
    """The outdoor pixel nearest to the centre."""
    distance = np.hypot(*(layout.pixels - MAP_SIZE / 2).T)
    return tuple(int(v) for v in layout.pixels[distance.argmin()])


@pytest.fixture(scope="module")
def radiodiff():
    pipeline = RadioDiffPipeline.from_pretrained("radiodiff-small")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def inverse():
    pipeline = RadioDiffInversePipeline.from_pretrained("prior-small")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def measurements(layout, place):
    gain = torch.from_numpy(db_to_model(layout.path_gain(place))).float()[None, None]
    mask = pixel_mask((MAP_SIZE, MAP_SIZE), 0.8, np.random.default_rng(0))
    return measure(gain, torch.from_numpy(mask)[None, None], 0.05, torch.Generator().manual_seed(0))


def test_matrix_product(benchmark):
    """The unit of the saved ratios: 1024 x 1024 in float32."""
    a = torch.ones(1024, 1024)
    benchmark.pedantic(lambda: a @ a, rounds=20, warmup_rounds=3)


def test_engine_layout(benchmark, buildings, layout):
    """What the transmitters of a city share."""
    benchmark.pedantic(Layout.from_mask, args=(buildings,), rounds=3)


def test_engine_map(benchmark, layout, place):
    found = benchmark.pedantic(layout.path_gain, args=(place,), rounds=5)
    assert found.shape == (MAP_SIZE, MAP_SIZE)


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_radiodiff_map(benchmark, radiodiff, buildings, place, steps):
    found = benchmark.pedantic(
        radiodiff, args=(buildings, place), kwargs={"num_inference_steps": steps}, rounds=2
    )
    assert found.gray.shape == (1, MAP_SIZE, MAP_SIZE)


@pytest.mark.parametrize("steps", [5])
@torch.inference_mode()
def test_radiodiff_map_as_published(benchmark, radiodiff, steps):
    """The authors' loop: the prompt is encoded at every step."""
    prompt = torch.zeros(1, len(radiodiff.config.prompt_features), MAP_SIZE, MAP_SIZE)
    channels, factor = radiodiff.vae.config.latent_channels, radiodiff.vae.config.scaling_factor
    side = MAP_SIZE // 2 ** (len(radiodiff.vae.config.block_out_channels) - 1)
    noise = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))

    def generate():
        radiodiff.scheduler.set_timesteps(steps)
        z_0 = sample(
            lambda z_t, t: radiodiff.denoiser(z_t, t, prompt),
            radiodiff.scheduler,
            noise,
            torch.Generator().manual_seed(1),
        )
        return radiodiff.vae.decode(z_0 / factor).sample

    assert benchmark.pedantic(generate, rounds=2).shape == (1, 1, MAP_SIZE, MAP_SIZE)


def test_inverse_map(benchmark, inverse, measurements):
    """As shipped: 12 particles, 4 steps, refined."""
    found = benchmark.pedantic(inverse, args=(measurements,), rounds=1)
    assert found.mean.shape == (1, 1, MAP_SIZE, MAP_SIZE)


def test_inverse_map_as_published_in_4_of_100_steps(benchmark, inverse, measurements):
    """The filter of the paper: 5 particles, of whose 100 steps four are made."""
    options = {"num_particles": 5, "num_inference_steps": 4, "sampler": Published()}
    benchmark.pedantic(inverse, args=(measurements,), kwargs=options, rounds=1)
