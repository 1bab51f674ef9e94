import numpy as np
import pytest

from radiodiff.inverse.field.candidates import Candidate, Constant, predict_candidate
from radiodiff.inverse.field.covariance import Covariance
from radiodiff.inverse.field.samples import merge_positions, merge_rows

RNG = np.random.default_rng(3)
XY = RNG.uniform(0, 100, (40, 2))
VALUES = RNG.normal(-80, 6, 40)
COVARIANCE = Covariance(
    (5.0, 40.0), (9.0, 25.0), 4.0, shadow=(6.0, 0.5, 0.8), transmitter=(20.0, 30.0)
)


def dense(covariance, xy, values, mean, queries, count):
    """Simple kriging with all samples, by the formulas of the textbook."""

    def cov(a, b):
        a, b = covariance.embed(a, np.zeros(len(a))), covariance.embed(b, np.zeros(len(b)))
        apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
        return (covariance.component_variances * np.exp(-apart)).sum(-1)

    inverse = np.linalg.inv(cov(xy, xy) + np.diag(covariance.nugget / count))
    right = cov(xy, queries)
    total = covariance.component_variances.sum()
    return (
        mean + right.T @ inverse @ (values - mean),
        total - np.einsum("iq,ij,jq->q", right, inverse, right),
    )


@pytest.mark.parametrize("patch_m", [0.0, 30.0])
def test_all_samples_as_neighbours_give_the_exact_solution(patch_m):
    runs = merge_positions(XY, VALUES)
    queries = RNG.uniform(0, 100, (50, 2))
    candidate = Candidate("c", Constant(-80.0), COVARIANCE)
    found = predict_candidate(candidate, runs, np.ones(40), queries, patch_m=patch_m)
    expected = dense(COVARIANCE, runs.xy, runs.mean, -80.0, queries, runs.count)
    assert np.allclose(found[0], expected[0], atol=1e-4)
    assert np.allclose(found[1], expected[1], atol=1e-4)


def test_repeats_count_as_one_sample_of_less_noise():
    repeated = np.repeat(XY, 5, axis=0), np.repeat(VALUES, 5)
    runs = merge_positions(*repeated)
    assert (runs.count == 5).all()
    candidate = Candidate("c", Constant(-80.0), COVARIANCE)
    found = predict_candidate(candidate, runs, np.ones(40), XY[:9])
    expected = dense(COVARIANCE, XY, VALUES, -80.0, XY[:9], np.full(40, 5.0))
    assert np.allclose(found[0], expected[0], atol=1e-4)


def test_a_pass_is_predicted_from_its_own_rows():
    """Two passes over one street, 10 dB apart: a position on the track of one takes its level."""
    x = np.arange(0.0, 200.0, 4.0)
    there, back = np.c_[x, np.zeros(50)], np.c_[x[::-1], np.full(50, 3.0)]
    runs = merge_rows(np.r_[there, back], np.r_[np.full(50, -75.0), np.full(50, -85.0)])
    covariance = Covariance((30.0,), (1.0,), 0.5, drift=(50.0, 60.0, 300.0))
    candidate = Candidate("c", Constant(-80.0), covariance, pass_width=0.15)
    queries = np.array([[102.0, 0.0], [102.0, 3.0]])
    mean, _ = predict_candidate(candidate, runs, np.ones(100), queries)
    assert mean == pytest.approx([-75, -85], abs=1.0)
