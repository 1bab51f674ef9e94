"""Each convention in which the papers differ is one key, with values by hand on fixed maps.

Two maps of 12 x 12: buildings (gray 0) on the left half, gray 0.5 on the right. The first
prediction is 0.3 too high in buildings and 0.1 outdoors, the second 0.1 too high everywhere.
"""

import math

import pytest
import torch
from skimage.metrics import structural_similarity

from radiodiff.evaluation.metrics import average, truth_power
from radiodiff.evaluation.predictions import score_maps
from radiodiff.evaluation.settings import MetricConfig

OUTDOOR = torch.arange(12).expand(2, 12, 12) >= 6
TRUTH = torch.where(OUTDOOR, 0.5, 0.0).double()
ERROR = torch.where(OUTDOOR, 0.1, torch.tensor([0.3, 0.1])[:, None, None]).double()
GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def similarity(**options: object) -> list[float]:
    pairs = zip((TRUTH + ERROR).numpy(), TRUTH.numpy(), strict=True)
    return [float(structural_similarity(p, t, data_range=1, **options)) for p, t in pairs]


# Key and choice -> metric and its value for each map. Mean squared errors: 0.05 and 0.01.
PER_MAP = {
    ("threshold", "none"): ("nmse", [0.05 / 0.125, 0.01 / 0.125]),
    # Stretched, outdoors is 0.375, predicted 0.5; in buildings 0, predicted 0.125 and 0.
    ("threshold", "thr2"): ("nmse", [2 / 9, 1 / 9]),
    ("rmse_unit", "gray"): ("rmse", [math.sqrt(0.05), 0.1]),
    ("rmse_unit", "model"): ("rmse", [2 * math.sqrt(0.05), 0.2]),
    ("rmse_unit", "db"): ("rmse", [99.16 * math.sqrt(0.05), 9.916]),
    ("psnr_peak", "full_scale"): ("psnr", [13.0103, 20.0]),
    ("psnr_peak", "truth_range"): ("psnr", [6.9897, 13.9794]),
    ("ssim_window", "uniform"): ("ssim", similarity()),
    ("ssim_window", "gaussian"): ("ssim", similarity(**GAUSSIAN)),
    ("pixels", "all"): ("nmse", [0.05 / 0.125, 0.01 / 0.125]),
    ("pixels", "outdoor"): ("nmse", [0.04, 0.04]),
}
# Mean squared errors of both maps together: 0.03.
MEANS = {
    "maps": {"rmse": (math.sqrt(0.05) + 0.1) / 2, "psnr": 16.50515, "nmse": 0.24},
    "pooled": {"rmse": math.sqrt(0.03), "psnr": 15.2288, "nmse": 0.24},
}


@pytest.mark.parametrize(("key", "choice"), PER_MAP)
def test_convention_of_each_map(key: str, choice: str) -> None:
    metric, expected = PER_MAP[key, choice]
    config = MetricConfig.model_validate({key: choice})
    where = OUTDOOR if config.pixels == "outdoor" else None
    found = score_maps(TRUTH + ERROR, TRUTH, config, where)[metric]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("choice", ["maps", "pooled"])
def test_convention_of_the_mean(choice: str) -> None:
    config = MetricConfig.model_validate({"averaging": choice})
    scores = score_maps(TRUTH + ERROR, TRUTH, config)
    for metric, expected in MEANS[choice].items():
        found = average(metric, scores[metric], config.averaging, truth_power(TRUTH))
        assert found == pytest.approx(expected, rel=1e-5)


def test_every_convention_has_its_case() -> None:
    assert {key for key, _ in PER_MAP} | {"averaging"} == set(MetricConfig.model_fields)
