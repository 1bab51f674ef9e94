import numpy as np
import pytest
from pydantic import ValidationError

from radiodiff.data.survey import ColumnSettings, SurveySettings, read_survey
from radiodiff.errors import InputError
from radiodiff.units import model_to_db


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    x, y = generator.uniform(0, 30, 40), generator.uniform(100, 120, 40)
    return np.stack([x, y, generator.uniform(-120, -60, 40)], axis=1)


def test_measurements_land_in_their_cells(tmp_path, rows):
    path = write(tmp_path / "s.csv", "x,y,gain_db", rows)
    settings = SurveySettings(noise_std_db=2.0, origin=(0.0, 120.0), shape=(21, 31))
    survey = read_survey(path, settings)
    pixels = np.stack([np.rint(120 - rows[:, 1]), np.rint(rows[:, 0])], axis=1).astype(int)
    mask = survey.measurements.mask[0, 0].numpy()
    assert mask.sum() == len(np.unique(pixels, axis=0))
    found = model_to_db(survey.measurements.values[0, 0].numpy())
    for pixel in np.unique(pixels, axis=0):
        mean = rows[(pixels == pixel).all(axis=1), 2].mean()
        assert found[tuple(pixel)] == pytest.approx(mean, abs=1e-3)
    np.testing.assert_allclose(survey.grid.to_survey(survey.pixels), rows[:, :2])


def test_received_power_and_other_columns(tmp_path, rows):
    rows[:, 2] += 23
    path = write(tmp_path / "s.csv", "north,rssi,east", rows[:, [1, 2, 0]])
    settings = SurveySettings(
        columns=ColumnSettings(x="east", y="north", value="rssi"),
        value="received_dbm",
        transmit_power_dbm=23,
        noise_std_db=1,
    )
    survey = read_survey(path, settings)
    np.testing.assert_allclose(survey.gain_db, rows[:, 2] - 23)
    assert (survey.pixels.min(axis=0) == 0).all()
    assert (survey.pixels.max(axis=0) <= np.array(survey.grid.shape) - 0.5).all()


def test_noise_may_leave_the_range_of_maps(tmp_path):
    # The truncation is -147 dB: noise around it is kept, what lies far below is brought to 3 sigma.
    path = write(tmp_path / "s.csv", "x,y,gain_db", [(0, 0, -150), (1, 0, -144), (2, 0, -200)])
    survey = read_survey(path, SurveySettings(noise_std_db=2.0))
    found = model_to_db(survey.measurements.values[0, 0, 0].numpy())
    np.testing.assert_allclose(found, [-150, -144, -153], atol=1e-3)


def test_degrees_are_metres_on_the_ground(tmp_path, rows):
    # 1e-4 degrees at latitude 50: 7.17 m east, 11.12 m north.
    points = np.array([[8.0, 50.0, -80], [8.0001, 50.0001, -90], [8.0, 50.0001, -85]])
    path = write(tmp_path / "s.csv", "lon,lat,gain_db", points)
    columns = ColumnSettings(x="lon", y="lat")
    survey = read_survey(
        path, SurveySettings(columns=columns, coordinates="degrees", noise_std_db=1)
    )
    assert survey.pixels[0] == pytest.approx([11.12, 0.0], abs=0.02)
    assert survey.pixels[1] == pytest.approx([0.0, 7.17], abs=0.02)
    assert survey.grid.shape == (12, 8)


def test_noise_is_estimated_from_measurements_in_one_cell(tmp_path):
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 20, (2, 2000))
    gain = -90 - x + 3.0 * generator.standard_normal(2000)
    path = write(tmp_path / "s.csv", "x,y,gain_db", np.stack([x, y, gain], 1))
    survey = read_survey(path, SurveySettings(duplicates="average"))
    assert survey.noise_std_db[0] == pytest.approx(3.0, rel=0.06)


def test_each_measurement_may_have_its_own_noise(tmp_path):
    path = write(tmp_path / "s.csv", "x,y,gain_db,std", [(0, 0, -80, 1), (5, 5, -90, 4)])
    columns = ColumnSettings(noise_std_db="std")
    survey = read_survey(path, SurveySettings(columns=columns))
    assert survey.noise_std_db.tolist() == [1, 4]


@pytest.mark.parametrize(
    ("header", "row", "changes", "message"),
    [
        ("x,y,rssi", [(0, 0, -80)], {}, "no column 'gain_db'; the file has x, y, rssi"),
        ("x,y,gain_db", [(0, 0, 310), (5, 5, 300)], {}, "holds 310, which is neither dB"),
        ("x,y,gain_db", [(0, 0, 12), (5, 5, -80)], {}, "at most 0"),
        ("x,y,gain_db", [(0, 0, "loud"), (5, 5, -80)], {}, "line 2: gain_db is 'loud'"),
        ("x,y,gain_db", [(0, 0, -80), (5, 5, "nan")], {}, "line 3: gain_db is 'nan'"),
        ("x,y,gain_db", [(0, 0, -80), (0.1, 0.2, -81)], {}, "all 2 samples fall into one pixel"),
        ("x,y,gain_db", [(0, 0, -80), (0, 0, -81), (5, 5, -90)], {}, "repeat a position"),
        (
            "x,y,gain_db",
            [(0, 0, -80), (9, 9, -81)],
            {"shape": (5, 5)},
            "1 of 2 measurements lie outside",
        ),
        ("x,y,gain_db", [(0, 0, -80), (9e6, 9, -81)], {}, "check the units and the resolution"),
        ("x,y,gain_db", [(0, 0, -80), (500, 9, -81)], {"coordinates": "degrees"}, "not degrees"),
        (
            "x,y,gain_db",
            [(0, 0, -80), (9, 9, -81)],
            {"noise_std_db": None},
            "set survey.noise_std_db",
        ),
        ("x,y,gain_db", [], {}, "holds no measurement"),
    ],
)
def test_bad_surveys_are_refused_in_one_line(tmp_path, header, row, changes, message):
    path = write(tmp_path / "s.csv", header, row)
    settings = SurveySettings(**{"noise_std_db": 2.0, "y_axis": "south", **changes})
    with pytest.raises(InputError, match=message) as error:
        read_survey(path, settings)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_power_without_transmitter_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_survey(tmp_path / "none.csv", SurveySettings())
    with pytest.raises(ValidationError, match="transmit_power_dbm"):
        SurveySettings(value="received_dbm")
