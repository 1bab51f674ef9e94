import json

import numpy as np
import pytest
import shapely
import torch
from pydantic import ValidationError

from radiodiff.data.radiomapseer import RadioMapSeer
from radiodiff.simulate import dataset
from radiodiff.simulate.city import City
from radiodiff.simulate.dataset import draw_layout, simulate_dataset
from radiodiff.simulate.dominant_path import Layout
from radiodiff.simulate.path_loss_model import constants
from radiodiff.simulate.settings import SimulateConfig, Variation
from radiodiff.simulate.variation import draw_footprints, draw_path_loss
from radiodiff.units import db_to_level

NOTHING = {
    "path_loss_share": 0.0,
    "footprint_share": 0.0,
    "exponent_std_db": 0.0,
    "diffraction_std": 0.0,
    "breakpoint_std_degree": 0.0,
    "roof_height_std_m": 0.0,
    "roof_part_m": (18.0, 18.0),
    "roof_crossing_db": (3.0, 3.0),
    "no_roof_share": 0.0,
    "small_building_m2": 100.0,
    "missing_share": 0.0,
    "extra_share": 0.0,
    "moved_share": 0.0,
}
MUCH = NOTHING | {
    "path_loss_share": 0.5,
    "footprint_share": 1.0,
    "exponent_std_db": 0.5,
    "roof_part_m": (8.0, 60.0),
    "missing_share": 0.3,
    "extra_share": 0.3,
    "moved_share": 0.5,
    "small_building_m2": 200.0,
}


def config_of(output, variation, **changes):
    values = {
        "seed": 3,
        "layouts": 2,
        "size": 64,
        "transmitters": 2,
        "simulations": ("DPM",),
        "transmitter_margin": 0.0,
    }
    return SimulateConfig(output=output, variation=variation, **(values | changes))


def houses():
    return City((64, 64), tuple(shapely.box(x, y, x + 8, y + 6) for x in (4, 24) for y in (9, 40)))


def test_without_a_share_nothing_varies(tmp_path):
    plain = simulate_dataset(config_of(tmp_path / "plain", None))
    varied = simulate_dataset(config_of(tmp_path / "varied", NOTHING))
    for path in sorted(plain.rglob("*.*")):
        if path.name != "manifest.json":
            assert (varied / path.relative_to(plain)).read_bytes() == path.read_bytes(), path


def test_what_a_layout_is_follows_from_the_seed_and_its_id(tmp_path):
    config = config_of(tmp_path, MUCH, layouts=5)
    drawn = [draw_layout(config, map_id) for map_id in (1, 2, 3, 4, 5)]
    again = draw_layout(config, 4)
    assert again.path_loss_model == drawn[3].path_loss_model
    assert again.city.buildings == drawn[3].city.buildings
    assert again.truth.buildings == drawn[3].truth.buildings
    assert len({layout.path_loss_model.obstructed_db_per_decade for layout in drawn}) > 1
    other = draw_layout(config_of(tmp_path, MUCH, layouts=5, seed=4), 4)
    assert other.path_loss_model != again.path_loss_model


def test_constants_have_the_spread_asked_for():
    wanted = NOTHING | {
        "path_loss_share": 0.75,
        "exponent_std_db": 0.5,
        "roof_part_m": (10.0, 40.0),
        "no_roof_share": 0.2,
    }
    rng = np.random.default_rng(0)
    models = [draw_path_loss(Variation(**wanted), rng) for _ in range(4000)]
    nominal = constants().path_loss_model
    own = [model for model in models if model != nominal]
    assert len(own) / len(models) == pytest.approx(0.75, abs=0.03)
    slopes = np.array([model.obstructed_db_per_decade for model in own])
    assert slopes.mean() == pytest.approx(nominal.obstructed_db_per_decade, abs=0.04)
    assert slopes.std() == pytest.approx(0.5, abs=0.03)
    parts = np.log([model.roof_part_m for model in own])
    assert np.exp(parts.mean()) == pytest.approx(20.0, rel=0.03)  # half way in the logarithm
    assert parts.min() >= np.log(10) - 1e-9
    assert parts.max() <= np.log(40) + 1e-9
    assert np.mean([not model.over_roofs for model in own]) == pytest.approx(0.2, abs=0.03)
    assert {model.interaction_offset_db for model in own} == {nominal.interaction_offset_db}


def test_footprints_lack_buildings_of_the_truth_and_the_other_way_round():
    city, rng = houses(), np.random.default_rng(0)
    variation = Variation(**MUCH | {"moved_share": 0.0})
    missing = extra = 0
    for _ in range(500):
        truth, written = draw_footprints(variation, city, rng)
        assert set(truth) | set(written) == set(city.buildings)  # no building is in neither
        missing += len(set(truth) - set(written))
        extra += len(set(written) - set(truth))
    assert missing / 2000 == pytest.approx(0.3, abs=0.04)
    assert extra / 2000 == pytest.approx(0.3, abs=0.04)
    large = Variation(**MUCH | {"moved_share": 0.0, "small_building_m2": 47.0})
    assert draw_footprints(large, city, rng) == (city.buildings, city.buildings)


def test_a_moved_vertex_is_off_by_one_pixel():
    city, rng = houses(), np.random.default_rng(0)
    variation = Variation(**NOTHING | {"footprint_share": 1.0, "moved_share": 1.0})
    truth, written = draw_footprints(variation, city, rng)
    assert truth == city.buildings
    for before, after in zip(truth, written, strict=True):
        moved = np.abs(shapely.get_coordinates(before)[:-1] - shapely.get_coordinates(after)[:-1])
        assert moved.sum() == 1
        assert after.is_valid


def test_maps_are_of_the_truth_and_the_tree_shows_what_is_written(tmp_path):
    config = config_of(tmp_path / "tree", MUCH, layouts=3)
    root = simulate_dataset(config)
    tree = RadioMapSeer(root)
    manifest = json.loads((root / "manifest.json").read_text())
    differing = 0
    for index, (map_id, tx) in enumerate(tree.pairs):
        drawn = draw_layout(config, map_id)
        truth = Layout.from_polygons(drawn.truth.buildings, drawn.truth.size, drawn.path_loss_model)
        row, column = drawn.transmitters[tx].tolist()
        assert np.array_equal(tree.levels(index), db_to_level(truth.path_gain((row, column))))
        assert np.array_equal(tree.footprint(index).mask, drawn.city.building_mask)
        for mask in (drawn.city.building_mask, drawn.truth.building_mask):
            assert not mask[row, column]
        differing += int((drawn.city.building_mask != drawn.truth.building_mask).sum())
        own = manifest["path_loss"].get(str(map_id))
        assert (own is None) == (drawn.path_loss_model == constants().path_loss_model)
        assert own is None or own == drawn.path_loss_model.model_dump()
    assert differing > 0


def test_roof_points_of_another_law_are_those_of_a_new_layout():
    polygons = houses().buildings
    nominal = constants().path_loss_model
    for change in (
        {"roof_point_position": 0.2},
        {"roof_part_m": 7.0},
        {"over_roofs": False},
        {"roof_height_m": 9.0, "interaction_offset_db": 1.0},
    ):
        model = nominal.model_copy(update=change)
        moved = (
            Layout.from_polygons(polygons, (64, 64)).with_path_loss_model(model).path_gain((2, 20))
        )
        assert np.array_equal(
            moved, Layout.from_polygons(polygons, (64, 64), model).path_gain((2, 20))
        )


def test_without_paths_over_roofs_a_closed_courtyard_is_dark():
    block = shapely.box(10, 10, 50, 50) - shapely.box(18, 18, 42, 42)
    nominal = constants().path_loss_model
    for over_roofs in (True, False):
        model = nominal.model_copy(update={"over_roofs": over_roofs})
        gain = Layout.from_polygons([block], (64, 64), model).path_gain((2, 2))
        assert (gain[20:40, 20:40] > -147).any() == over_roofs


def test_impossible_variations_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="variation is of DPM and carsDPM alone, found IRT2"):
        config_of(tmp_path, NOTHING, simulations=("DPM", "IRT2"))
    with pytest.raises(ValidationError, match="roof_part_m: expected"):
        Variation(**NOTHING | {"roof_part_m": (20.0, 10.0)})
    with pytest.raises(ValidationError, match="together exceed 1"):
        Variation(**NOTHING | {"missing_share": 0.6, "extra_share": 0.6})


def test_the_variation_is_one_of_the_settings_of_a_tree(tmp_path):
    simulate_dataset(config_of(tmp_path / "tree", NOTHING, layouts=1))
    with pytest.raises(dataset.InputError, match="made with variation"):
        simulate_dataset(config_of(tmp_path / "tree", MUCH, layouts=1))


def test_the_channel_of_a_dynamic_map_sees_its_vehicles(tmp_path):
    config = config_of(tmp_path / "tree", None, layouts=2, simulations=("DPM", "carsDPM"))
    root = simulate_dataset(config)
    assert any(draw_layout(config, map_id).city.vehicle_mask.any() for map_id in (1, 2))
    for simulation in config.simulations:
        tree = RadioMapSeer(root, simulation=simulation, prompt_features=["path_loss_model"])
        for item in tree:
            assert torch.equal(item["prompt"], item["gain"]), (simulation, item["name"])
