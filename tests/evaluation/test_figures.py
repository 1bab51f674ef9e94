import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.data.scale import Scale
from radiodiff.errors import InputError
from radiodiff.evaluation.figures import (
    Curve,
    comparison_figure,
    contact_sheet,
    curve_figure,
    reconstruction_figure,
    save_figure,
)
from radiodiff.units import GAIN_RANGE_DB, gray_to_db


@pytest.fixture
def truth():
    return torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(0))


def panels(figure):
    """Title of the column -> the panels below it; colour bars have no title and no image."""
    axes = [panel for panel in figure.axes if panel.images]
    columns = [panel.get_title() for panel in axes if panel.get_title()]
    return {title: axes[index :: len(columns)] for index, title in enumerate(columns)}


def test_every_map_has_its_panels_in_db(truth):
    buildings = truth > 0.8
    measured = torch.where(truth > 0.5, truth, torch.nan)
    figure = comparison_figure(
        truth,
        {"ours": truth + 0.1, "nearest": truth},
        buildings=buildings,
        transmitters=torch.tensor([[3, 4], [5, 6]]),
        inputs={"samples": measured},
        names=["12_7", "12_8"],
    )
    columns = panels(figure)
    assert list(columns) == [
        "prompt",
        "samples",
        "truth",
        "ours",
        "nearest",
        "error: ours",
        "error: nearest",
    ]
    assert all(len(column) == 2 for column in columns.values())
    drawn = columns["truth"][1].images[0]
    np.testing.assert_allclose(drawn.get_array(), -147 + 99.16 * truth[1].numpy(), rtol=1e-5)
    assert (drawn.norm.vmin, drawn.norm.vmax) == (-147, -47.84)
    error = columns["error: ours"][0].images[0].get_array()
    np.testing.assert_allclose(error, np.full((12, 16), 9.916), rtol=1e-5)
    unobserved = columns["samples"][0].images[0].get_array().mask
    assert np.array_equal(unobserved, ~(truth[0] > 0.5).numpy())
    assert columns["prompt"][1].lines[0].get_xydata().tolist() == [[6, 5]]
    labels = [panel.get_ylabel() for panel in figure.axes]
    assert {"12_7", "12_8", "path gain (dB)", "error (dB)"} <= set(labels)


def test_vehicles_stand_over_the_buildings(truth):
    vehicles = truth > 0.9
    figure = comparison_figure(truth, {}, buildings=truth > 0.5, vehicles=vehicles)
    _, over = panels(figure)["prompt"][0].images
    assert np.array_equal(~over.get_array().mask, vehicles[0].numpy())


def test_curves_have_a_colour_for_each_method_and_a_style_for_each_scenario():
    curves = [
        Curve("ours", "known", [0.7, 0.9], [30.0, 28.0], [1.0, 2.0], dashed=False),
        Curve("ours", "unknown", [0.7, 0.9], [29.0, 26.0], [1.0, math.nan], dashed=True),
        Curve("kriging", "known", [0.7], [22.0], [0.5], dashed=False),
    ]
    figure = curve_figure(curves, "missing", "PSNR (dB)", "noise 0.05")
    (axes,) = figure.axes
    lines = axes.lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert lines[0].get_xydata().tolist() == [[0.7, 30.0], [0.9, 28.0]]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(0.7, 29.0), (0.7, 31.0), (0.9, 26.0), (0.9, 30.0)} == set(map(tuple, band.tolist()))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["ours (known)", "ours (unknown)", "kriging (known)"]
    labels = (axes.get_xlabel(), axes.get_ylabel(), figure.get_suptitle())
    assert labels == ("missing", "PSNR (dB)", "noise 0.05")
    assert axes.get_xticks().tolist() == [0.7, 0.9]
    with pytest.raises(InputError, match="there is no curve"):
        curve_figure([], "x", "y", "title")


def test_prompt_and_results_may_be_left_out(truth):
    assert list(panels(comparison_figure(truth, {}))) == ["truth"]


def test_pyplot_is_left_alone_and_no_half_file_remains(truth, tmp_path):
    save_figure(comparison_figure(truth, {"ours": truth}), tmp_path / "a.png", dpi=50)
    assert plt.get_fignums() == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > image.height > 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"results": {"ours": torch.zeros(2, 12, 15)}}, "ours has shape"),
        ({"results": {}, "inputs": {"samples": torch.zeros(1, 12, 16)}}, "samples has shape"),
        ({"results": {}, "buildings": torch.zeros(12, 16)}, "buildings has shape"),
        ({"results": {}, "vehicles": torch.zeros(2, 3)}, "vehicles has shape"),
        ({"results": {}, "transmitters": torch.zeros(2, 3)}, "transmitters has shape"),
    ],
)
def test_shapes_that_do_not_match_are_refused(truth, arguments, words):
    with pytest.raises(InputError, match=words):
        comparison_figure(truth, **arguments)


def test_a_reconstruction_is_drawn_in_db_beside_its_error(truth):
    samples = torch.where(truth > 0.5, truth, torch.nan)
    mean, std = truth + 0.1, torch.full_like(truth, 0.05)
    figure = reconstruction_figure(truth, samples, mean, std, ["12_7", "12_8"])
    columns = panels(figure)
    assert list(columns) == [
        "truth",
        "samples",
        "mean",
        "standard deviation",
        "error: mean minus truth",
    ]
    drawn = {
        name: [np.ma.filled(panel.images[0].get_array(), np.nan) for panel in rows]
        for name, rows in columns.items()
    }
    for row in range(2):
        error, deviation = drawn["error: mean minus truth"][row], drawn["standard deviation"][row]
        np.testing.assert_allclose(error, 0.1 * GAIN_RANGE_DB, rtol=1e-4)
        np.testing.assert_allclose(deviation, 0.05 * GAIN_RANGE_DB, rtol=1e-5)
        unseen = np.isnan(samples[row].numpy())
        assert np.array_equal(np.isnan(drawn["samples"][row]), unseen)
        np.testing.assert_allclose(
            drawn["samples"][row][~unseen], drawn["truth"][row][~unseen], rtol=1e-6
        )
    with pytest.raises(InputError, match="std"):
        reconstruction_figure(truth, samples, mean, std[:1])


def test_figures_are_on_the_scale_of_the_tree(truth):
    scale = Scale(min_db=-160, max_db=-40)
    compared = panels(comparison_figure(truth, {"ours": truth + 0.1}, scale=scale))
    std = torch.full_like(truth, 0.05)
    inverse = panels(reconstruction_figure(truth, truth, truth + 0.1, std, scale=scale))
    for columns, error in ((compared, "error: ours"), (inverse, "error: mean minus truth")):
        drawn = columns["truth"][1].images[0]
        np.testing.assert_allclose(drawn.get_array(), -160 + 120 * truth[1].numpy(), rtol=1e-5)
        assert (drawn.norm.vmin, drawn.norm.vmax) == (-160, -40)
        np.testing.assert_allclose(columns[error][0].images[0].get_array(), 12, rtol=1e-4)
    np.testing.assert_allclose(inverse["standard deviation"][0].images[0].get_array(), 6, rtol=1e-5)


def test_a_contact_sheet_shows_each_map_with_its_transmitter():
    maps = [torch.full((8, 8), 0.1 * n) for n in range(5)]
    sheet = contact_sheet(
        maps, list("abcde"), [torch.zeros(8, 8, dtype=torch.bool)] * 5, [(n, 1.0) for n in range(5)]
    )
    drawn = [axes for axes in sheet.axes if axes.images]
    assert [panel.get_title() for panel in drawn] == list("abcde")
    for n, panel in enumerate(drawn):
        np.testing.assert_allclose(panel.images[0].get_array(), gray_to_db(0.1 * n), atol=1e-4)
        assert panel.lines[0].get_xydata().tolist() == [[1.0, n]]
