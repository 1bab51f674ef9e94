import numpy as np
import pytest
from pydantic import ValidationError

from radiodiff.data.survey import read_survey
from radiodiff.data.surveys.settings import ColumnSettings, SurveySettings
from radiodiff.errors import InputError
from radiodiff.units import model_to_db

DEGREES = {"coordinates": "degrees"}


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0, 30, 40), generator.uniform(100, 120, 40)
    return np.stack([x, y, generator.uniform(-120, -60, 40)], axis=1)


def test_samples_land_in_their_pixels(tmp_path, rows):
    path = write(tmp_path / "s.csv", "x,y,gain_db", rows)
    settings = SurveySettings(noise_std_db=2.0, origin=(0.0, 120.0), shape=(21, 31), resolution_m=1)
    survey = read_survey(path, settings)
    cells = np.stack([np.rint(120 - rows[:, 1]), np.rint(rows[:, 0])], axis=1).astype(int)
    mask = survey.measurements.mask[0, 0].numpy()
    assert mask.sum() == len(np.unique(cells, axis=0))
    found = model_to_db(survey.measurements.values[0, 0].numpy())
    for cell in np.unique(cells, axis=0):
        mean = rows[(cells == cell).all(axis=1), 2].mean()
        assert found[tuple(cell)] == pytest.approx(mean, abs=1e-3)
    np.testing.assert_allclose(survey.grid.to_survey(survey.pixels), rows[:, :2])


def test_received_power_and_other_columns(tmp_path, rows):
    rows[:, 2] += 23
    path = write(tmp_path / "s.csv", "north,rssi,east", rows[:, [1, 2, 0]])
    settings = SurveySettings(
        columns=ColumnSettings(x="east", y="north", value="rssi"),
        value="received_dbm",
        transmit_power_dbm=23,
        noise_std_db=1,
        resolution_m=1,
    )
    survey = read_survey(path, settings)
    np.testing.assert_allclose(survey.gain_db, rows[:, 2] - 23)
    assert survey.transmit_power_dbm == 23
    assert (survey.pixels.min(axis=0) == 0).all()
    assert (survey.pixels.max(axis=0) <= np.array(survey.grid.shape) - 0.5).all()


def test_noise_may_leave_the_range_of_maps(tmp_path):
    # The truncation is -147 dB: noise around it is kept, what lies far below is brought to 3 sigma.
    path = write(tmp_path / "s.csv", "x,y,gain_db", [(0, 0, -150), (1, 0, -144), (2, 0, -190)])
    survey = read_survey(path, SurveySettings(noise_std_db=2.0, resolution_m=1, margin_m=0))
    found = model_to_db(survey.measurements.values[0, 0, 0].numpy())
    np.testing.assert_allclose(found, [-150, -144, -153], atol=1e-3)
    assert "1 of 3 samples have a path gain below -147 dB" in " ".join(survey.notes)


@pytest.mark.parametrize(
    ("values", "power"),
    [
        ([-60, -80, -120], 23.0),  # RadioMapSeer's where the samples fit
        ([-131, -140, -146], 1.0),  # the weakest at the truncation
        ([-10, -20, -30], 37.84),  # the strongest at free space
        ([-10, -60, -130], 37.84),  # wider than the range of maps
    ],
)
def test_an_unknown_transmit_power_makes_the_samples_fit(tmp_path, values, power):
    rows = [(10 * n, n * n, value) for n, value in enumerate(values)]
    path = write(tmp_path / "s.csv", "x,y,rssi", rows)
    survey = read_survey(path, SurveySettings(value="received_dbm"))
    assert survey.transmit_power_dbm == pytest.approx(power)
    np.testing.assert_allclose(survey.gain_db + power, values)


def test_degrees_are_metres_on_the_ground(tmp_path, rows):
    # 1e-4 degrees at latitude 50: 7.17 m east, 11.12 m north.
    points = np.array([[8.0, 50.0, -80], [8.0001, 50.0001, -90], [8.0, 50.0001, -85]])
    path = write(tmp_path / "s.csv", "lon,lat,gain_db", points)
    columns = ColumnSettings(x="lon", y="lat")
    survey = read_survey(
        path,
        SurveySettings(columns=columns, coordinates="degrees", noise_std_db=1, resolution_m=1),
    )
    assert survey.pixels[0] == pytest.approx([11.12, 0.0], abs=0.02)
    assert survey.pixels[1] == pytest.approx([0.0, 7.17], abs=0.02)
    assert survey.grid.shape == (12, 8)


def test_noise_is_estimated_from_repeats(tmp_path):
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 20, (2, 2000))
    gain = -90 - x + 3.0 * generator.standard_normal(2000)
    path = write(tmp_path / "s.csv", "x,y,gain_db", np.stack([x, y, gain], 1))
    assert read_survey(path, SurveySettings()).noise_std_db[0] == pytest.approx(3.0, rel=0.06)


def test_noise_is_estimated_from_neighbours_of_a_smooth_field(tmp_path):
    generator = np.random.default_rng(2)
    x, y = generator.uniform(0, 500, (2, 3000))
    gain = -90 - 0.01 * x + 2.0 * generator.standard_normal(3000)
    path = write(tmp_path / "s.csv", "x,y,gain_db", np.stack([x, y, gain], 1))
    assert read_survey(path, SurveySettings()).noise_std_db[0] == pytest.approx(2.0, rel=0.06)


def test_each_sample_may_have_its_own_noise(tmp_path):
    path = write(tmp_path / "s.csv", "x,y,gain_db,std", [(0, 0, -80, 1), (5, 5, -90, 4)])
    columns = ColumnSettings(noise_std_db="std")
    survey = read_survey(path, SurveySettings(columns=columns))
    assert survey.noise_std_db.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("header", "row", "changes", "message"),
    [
        ("x,y,gain_db", [(0, 0, 310), (5, 5, 300)], {}, "path loss, whose sign"),
        ("x,y,gain_db", [(0, 0, 12), (5, 5, -80)], {}, "at most 0"),
        ("x,y,gain_db", [(0, 0, -80), (0.1, 0.7, -81)], {}, "all 2 samples fall into one pixel"),
        (
            "x,y,gain_db",
            [(0, 0, -80), (0, 0, -81), (5, 5, -90)],
            {"duplicates": "refuse"},
            "repeat a position",
        ),
        (
            "x,y,gain_db",
            [(0, 0, -80), (19, 9, -81)],
            {"shape": (5, 5)},
            "1 of 2 measurements lie outside",
        ),
        ("x,y,gain_db", [(1, 0, -80), (9e6, 9, -81)], {}, "check the units"),
        ("x,y,gain_db", [(0, 0, -80), (500, 9, -81), (500, 8, -81)], DEGREES, "not degrees"),
    ],
)
def test_bad_surveys_are_refused_in_one_line(tmp_path, header, row, changes, message):
    path = write(tmp_path / "s.csv", header, row)
    settings = SurveySettings(
        **{"noise_std_db": 2.0, "y_axis": "south", "resolution_m": 2.0, **changes}
    )
    with pytest.raises(InputError, match=message) as error:
        read_survey(path, settings)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_settings_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_survey(tmp_path / "none.csv", SurveySettings())
    with pytest.raises(ValidationError, match="transmit_power_dbm"):
        SurveySettings(value="path_gain_db", transmit_power_dbm=23)
    with pytest.raises(ValidationError, match="held_out_blocks_m needs held_out"):
        SurveySettings(held_out_blocks_m=60)
