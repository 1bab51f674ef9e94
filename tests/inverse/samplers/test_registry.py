"""The registry of samplers: each with its own options, and one more that is added from outside."""

from typing import Literal

import pytest
import torch

from radiodiff.config import Settings, load_config, save_config
from radiodiff.config_keys import config_keys
from radiodiff.errors import InputError
from radiodiff.inverse import samplers  # noqa: F401  fills the registry
from radiodiff.inverse.filtering import sample_posterior
from radiodiff.inverse.sampler import SAMPLERS, AnySampler, Sampler, register


class Config(Settings):
    sampler: AnySampler | None = None


def read(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    return load_config(tmp_path / "config.yaml", Config)


@pytest.mark.parametrize("method", SAMPLERS)
def test_every_sampler_is_read_by_its_name_and_written_whole(tmp_path, method):
    config = read(tmp_path, f"sampler: {{method: {method}, spacing: log_snr}}")
    assert type(config.sampler) is SAMPLERS[method]
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml", Config) == config


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("published", "min_noise_std: 0.1"),
        ("published", "repaint_jumps: 1"),
        ("candidates", "ess_threshold: 0.5"),
        ("common_noise", "repaint_jumps: 1"),
        ("common_noise", "guidance: true"),
        ("independent_noise", "min_noise_std: 0.1"),
        ("independent_noise", "resampling: systematic"),
        ("fixed_level", "clip: false"),
        ("combined", "min_noise_std: 0.1"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(tmp_path, method, option):
    key = option.split(":")[0]
    with pytest.raises(InputError, match=key):
        read(tmp_path, f"sampler: {{method: {method}, {option}}}")


def test_the_list_of_keys_names_the_options_of_every_sampler():
    paths = {key.path for key in config_keys(Config)}
    assert "sampler (method: fixed_level).min_noise_std" in paths
    assert "sampler (method: published).min_noise_std" not in paths


@pytest.mark.parametrize("value", ["-0.1", "1.5", "ddim"])
@pytest.mark.parametrize("method", SAMPLERS)
def test_impossible_stochasticity_is_refused(tmp_path, method, value):
    with pytest.raises(InputError, match="stochasticity"):
        read(tmp_path, f"sampler: {{method: {method}, stochasticity: {value}}}")


@pytest.mark.parametrize("text", ["sampler: {method: matched}", "sampler: {spacing: uniform}"])
def test_an_unknown_method_is_answered_by_the_known_ones(tmp_path, text):
    with pytest.raises(InputError, match=r"method is .*allowed are candidates, combined"):
        read(tmp_path, text)


def test_a_sampler_is_added_by_one_class(tmp_path, monkeypatch):
    monkeypatch.setattr("radiodiff.inverse.sampler.SAMPLERS", dict(SAMPLERS))

    @register
    class Pasted(Sampler):
        """One estimate from noise, into which the measurements are pasted."""

        method: Literal["pasted"] = "pasted"
        offset: float = 0.0

        def sample(self, network, problem):
            first = problem.alpha_bar[0]
            x = problem.begin(problem.normal())
            noise = network(x, first, 0)
            clean = (x - (1 - first).sqrt() * noise) / first.sqrt() + self.offset
            pasted = torch.where(problem.observed[:, None], problem.y[:, None], clean)
            return pasted.to(x.dtype), problem.equal_weights(problem.num_particles)

    config = read(tmp_path, "sampler: {method: pasted, offset: 0.25}")
    assert isinstance(config.sampler, Pasted)
    y = torch.tensor([[0.5, 0.0]])
    result = sample_posterior(
        lambda x, level: x / (1 - level[:, None]).sqrt(),  # the prior of a map of zeros
        y,
        y > 0,
        torch.full_like(y, 0.1),
        torch.tensor([0.1, 1.0], dtype=torch.float64),
        3,
        torch.Generator().manual_seed(0),
        config.sampler,
    )
    expected = torch.tensor([0.5, 0.25]).expand(1, 3, 2)
    torch.testing.assert_close(result.samples, expected, atol=1e-6, rtol=0)
