"""Which rows count, in which coordinates, and of which transmitter."""

import numpy as np
import pytest

from radiodiff.data.surveys.samples import dropped_lines, group_values, read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.errors import InputError


def survey(count=40, seed=0, scale=100.0):
    generator = np.random.default_rng(seed)
    x, y = generator.uniform(0, scale, (2, count))
    return np.stack([x, y, -80.0 - x / 10 + generator.normal(0, 1, count)], axis=1)


def moved(rows, x, y):
    return rows + np.array([x, y, 0.0])


def write(path, rows, header="x,y,rssi"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


def degrees(rows, lon=7.75, lat=49.42):
    return np.stack([lon + rows[:, 0] / 72_000, lat + rows[:, 1] / 111_000, rows[:, 2]], axis=1)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (-200, "value -200"),
        (0, "value 0"),
        (-1, "value -1"),
        (100, "value 100"),
        (2147483647, "value 2147483647"),
        (-999, "value -999"),
        (-32768, "value -32768"),
        ("", "no value"),
        ("n/a", "no value"),
        ("NaN", "no value"),
        ("inf", "no value"),
        ("-8x6", "value is no number"),
        (-86000, "value outside -250 .. 60 dB"),
    ],
)
def test_values_that_are_no_measurement_are_left_out(tmp_path, value, rule):
    rows = survey()
    bad = [[50, 60, value], [10, 20, value], [30, 30, value]]
    path = write(tmp_path / "s.csv", [*rows.tolist(), *bad])
    found = read_samples(path, SurveySettings())
    assert found.dropped == {rule: 3}
    assert dropped_lines(found.dropped) == [f"left out 3 rows: {rule}"]
    np.testing.assert_allclose(found.values, rows[:, 2])


def test_sentinels_can_be_set_and_kept(tmp_path):
    rows = survey()
    path = write(tmp_path / "s.csv", [*rows.tolist(), [1, 1, -150], [2, 2, -200]])
    assert read_samples(path, SurveySettings(sentinels=(-150,))).dropped == {"value -150": 1}
    assert read_samples(path, SurveySettings(sentinels=())).dropped == {}
    assert read_samples(path, SurveySettings(keep=("sentinels",))).dropped == {}


def test_a_sentinel_among_measurements_is_one(tmp_path):
    rows = survey()
    rows[:, 2] += 75  # a receiver beside a strong transmitter: -8 .. 0 dBm
    rows[3, 2] = 0.0
    found = read_samples(write(tmp_path / "s.csv", rows), SurveySettings())
    assert len(found) == len(rows)


def test_positions_without_a_fix_are_left_out(tmp_path):
    rows = degrees(survey())
    bad = [[0, 0, -90], [0.0, 0.0, -91], ["", "", -90], ["E7", 49, -90], [7.75, 999, -90]]
    path = write(tmp_path / "s.csv", [*rows.tolist(), *bad], "lon,lat,rssi")
    found = read_samples(path, SurveySettings())
    assert found.dropped == {
        "position (0, 0)": 2,
        "no position": 1,
        "position is no number": 1,
        "position not on the globe": 1,
    }
    assert len(found) == len(rows)


def test_the_corner_of_local_metres_is_a_position(tmp_path):
    rows = survey()
    rows[0, :2] = 0.0
    assert not read_samples(write(tmp_path / "s.csv", rows), SurveySettings()).dropped
    rows[1:, :2] += [400_000, 5_400_000]
    found = read_samples(write(tmp_path / "s.csv", rows), SurveySettings())
    assert found.dropped == {"position (0, 0)": 1}
    assert max(found.grid.shape) < 300


def test_a_position_far_away_does_not_stretch_the_grid(tmp_path):
    rows = survey()
    path = write(tmp_path / "s.csv", [*rows.tolist(), [90_000, 20, -90]])
    found = read_samples(path, SurveySettings())
    assert found.dropped == {"position far from all others": 1}
    assert max(found.grid.shape) < 300
    kept = read_samples(path, SurveySettings(keep=("far_positions",), resolution_m=100))
    assert len(kept) == len(rows) + 1


def test_two_towns_are_one_survey(tmp_path):
    rows = np.concatenate([survey(), moved(survey(seed=1), 20_000, 0)])
    found = read_samples(write(tmp_path / "s.csv", rows), SurveySettings())
    assert not found.dropped
    assert np.prod(found.grid.shape) <= 500_000


def test_a_file_of_bad_rows_is_refused(tmp_path):
    rows = survey(10)
    bad = [[1, 2, "loud"]] * 11
    with pytest.raises(InputError, match=r"most of the 21 rows.*11 value is no number"):
        read_samples(write(tmp_path / "s.csv", [*rows.tolist(), *bad]), SurveySettings())
    with pytest.raises(InputError, match="all rows were left out"):
        read_samples(write(tmp_path / "s.csv", [[n, 5, -200] for n in range(9)]), SurveySettings())


def test_most_rows_may_have_nothing_received(tmp_path):
    rows = survey(10)
    bad = [[5, 5, 100]] * 30
    found = read_samples(write(tmp_path / "s.csv", [*rows.tolist(), *bad]), SurveySettings())
    assert (len(found), found.dropped) == (10, {"value 100": 30})


def test_where_takes_the_rows_of_one_transmitter(tmp_path):
    rows = survey()
    both = [[*row, pci, f"gw {pci}"] for row in rows.tolist() for pci in ("17", "18.0")]
    path = write(tmp_path / "s.csv", both, "x,y,rssi,pci,gateway")
    for where in ({"pci": 17}, {"PCI": "17"}, {"gateway": ["gw 17"]}, {"pci": [17, 99]}):
        found = read_samples(path, SurveySettings(where=where))
        np.testing.assert_allclose(found.values, rows[:, 2])
        assert "takes 40 of 80 rows" in " ".join(found.notes)
    assert len(read_samples(path, SurveySettings(where={"pci": [17, 18]}))) == 80
    with pytest.raises(InputError, match=r"no row has survey.where pci=19; it has 17, 18"):
        read_samples(path, SurveySettings(where={"pci": 19}))
    with pytest.raises(InputError, match="no column 'cell'"):
        read_samples(path, SurveySettings(where={"cell": 19}))


def test_groups_are_the_transmitters_with_enough_rows(tmp_path):
    rows = [[*row, "a" if n < 25 else "b"] for n, row in enumerate(survey().tolist())]
    path = write(tmp_path / "s.csv", [*rows, [1, 1, -90, "c"], [1, 1, -90, ""]], "x,y,rssi,gw")
    assert group_values(path, SurveySettings(group_by="gw")) == (["a", "b"], ["c"])
    chosen = SurveySettings(group_by="gw", where={"gw": ["b", "c"]})
    assert group_values(path, chosen) == (["b"], ["c"])


@pytest.mark.parametrize("column", ["pci", "Cell ID", "bssid", "gateway", "gatewayEui", "tx_id"])
def test_several_transmitters_are_noticed(tmp_path, column):
    rows = survey()
    mixed = [[*row[:2], row[2] - 20 * (n % 2), f"t{n % 2}"] for n, row in enumerate(rows.tolist())]
    path = write(tmp_path / "s.csv", mixed, f"x,y,rssi,{column}")
    notes = " ".join(read_samples(path, SurveySettings()).notes)
    assert "names 2 transmitters (t0, t1)" in notes
    assert f"survey.group_by={column}" in notes
    assert "transmitters" not in " ".join(
        read_samples(path, SurveySettings(where={column: "t1"})).notes
    )


def test_names_that_make_no_difference_are_not_spoken_of(tmp_path):
    rows = [[*row, n % 2] for n, row in enumerate(survey(200).tolist())]
    path = write(tmp_path / "s.csv", rows, "x,y,rssi,channel")
    assert "transmitters" not in " ".join(read_samples(path, SurveySettings()).notes)


def test_served_areas_beside_each_other_are_spoken_of(tmp_path):
    rows = survey()
    rows = np.concatenate([rows, moved(survey(seed=1), 500, 0)])
    named = [[*row, row[0] > 200] for row in rows.tolist()]
    path = write(tmp_path / "s.csv", named, "x,y,rssi,pci")
    assert "at different places" in " ".join(read_samples(path, SurveySettings()).notes)


@pytest.mark.parametrize(
    ("header", "chosen", "said"),
    [
        ("lon,lat,RSRP,RSRQ", "RSRP", ""),
        ("lon,lat,rssi,rsrp", "rsrp", "another (rssi)"),
        ("Longitude,Latitude,Signal Strength (dBm),id", "Signal Strength (dBm)", ""),
        ("lon,lat,tx_power,rx_power_dbm", "rx_power_dbm", ""),
        ("lon,lat,rssi_std,rssi", "rssi", ""),
        ("lon,lat,tx_power,level_dbm", "level_dbm", ""),
    ],
)
def test_the_value_is_found_by_its_name(tmp_path, header, chosen, said):
    rows = [[*row, -85.0] for row in degrees(survey()).tolist()]
    found = read_samples(write(tmp_path / "s.csv", rows, header), SurveySettings())
    assert found.columns["value"] == chosen
    assert said in " ".join(found.notes)


@pytest.mark.parametrize(
    ("header", "settings", "message"),
    [
        ("x,y,foo", {}, "no column looks like value; the file has x, y, foo"),
        ("a,b,rssi", {}, "no column looks like x"),
        ("x,y,rssi,rssi", {}, "several columns named 'rssi'"),
        ("x,y,rssi", {"columns": {"value": "rsrp"}}, "no column 'rsrp'"),
        ("x,y,RSSI,rssi ", {"columns": {"value": "Rssi"}}, "'RSSI' or 'rssi'"),
        ("lat,lon,rssi", {"columns": {"x": "lat", "y": "lon"}}, "swap"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(tmp_path, header, settings, message):
    rows = [[*row, -1.0][: header.count(",") + 1] for row in survey().tolist()]
    with pytest.raises(InputError, match=message):
        read_samples(
            write(tmp_path / "s.csv", rows, header), SurveySettings.model_validate(settings)
        )


def test_units_and_settings_that_contradict_each_other_are_refused(tmp_path):
    utm = moved(survey(), 400_000, 5_475_000)
    path = write(tmp_path / "s.csv", utm, "E,N,rssi")
    with pytest.raises(InputError, match=r"coordinates=metres.*UTM.*survey.crs"):
        read_samples(path, SurveySettings(coordinates="degrees"))
    assert "survey.crs" in " ".join(read_samples(path, SurveySettings()).notes)
    path = write(tmp_path / "d.csv", degrees(survey()), "lon,lat,rssi")
    with pytest.raises(InputError, match=r"look like degrees; set survey.coordinates=degrees"):
        read_samples(path, SurveySettings(coordinates="metres"))
    path = write(tmp_path / "d.csv", degrees(survey()), "x,y,rssi")
    with pytest.raises(InputError, match="look like degrees"):
        read_samples(path, SurveySettings())
    path = write(tmp_path / "d.csv", degrees(survey(), 120.0, 30.0)[:, [1, 0, 2]], "x,y,rssi")
    with pytest.raises(InputError, match=r"swap survey.columns.x and survey.columns.y"):
        read_samples(path, SurveySettings(coordinates="degrees"))


def test_utm_and_degrees_are_the_same_places(tmp_path):
    pyproj = pytest.importorskip("pyproj")
    rows = degrees(survey())
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True)
    x, y = to_utm.transform(rows[:, 0], rows[:, 1])
    in_degrees = write(tmp_path / "d.csv", rows, "lon,lat,rssi")
    in_utm = write(tmp_path / "u.csv", np.stack([x, y, rows[:, 2]], 1), "E,N,rssi")
    settings = SurveySettings(crs=32632, resolution_m=1)
    assert settings.crs == "EPSG:32632"
    for path in (in_degrees, in_utm):
        found = read_samples(path, settings)
        np.testing.assert_allclose(found.position, np.stack([x, y], 1), atol=1e-3)
        assert (found.grid.crs, found.grid.coordinates) == ("EPSG:32632", "metres")
    local = read_samples(in_degrees, SurveySettings(resolution_m=1))
    spread = [np.ptp(s.xy, axis=0) for s in (found, local)]
    np.testing.assert_allclose(*spread, rtol=0.02)  # UTM north is turned by the meridians here
    with pytest.raises(InputError, match="do not lie in the area of EPSG:31467"):
        read_samples(in_utm, SurveySettings(crs="EPSG:31467"))
    with pytest.raises(InputError, match="'EPSG:1' is not known"):
        read_samples(in_utm, SurveySettings(crs="EPSG:1"))
    with pytest.raises(InputError, match=r"is in degrees, survey.coordinates is metres"):
        read_samples(in_utm, SurveySettings(crs="EPSG:4258", coordinates="metres"))


def test_web_mercator_metres_are_not_metres_on_the_ground(tmp_path):
    pyproj = pytest.importorskip("pyproj")
    rows = degrees(survey())
    to_mercator = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    x, y = to_mercator.transform(rows[:, 0], rows[:, 1])
    path = write(tmp_path / "m.csv", np.stack([x, y, rows[:, 2]], 1))
    found = read_samples(path, SurveySettings(crs="EPSG:3857", resolution_m=1))
    same = write(tmp_path / "d.csv", rows, "lon,lat,rssi")
    direct = read_samples(same, SurveySettings(resolution_m=1))
    np.testing.assert_allclose(np.ptp(found.xy, axis=0), np.ptp(direct.xy, axis=0), rtol=1e-3)


def test_held_out_samples_come_into_the_frame_of_the_survey(tmp_path):
    rows = degrees(survey())
    path = write(tmp_path / "s.csv", rows, "lon,lat,rssi")
    all_rows = read_samples(path, SurveySettings(resolution_m=1))
    part = write(tmp_path / "h.csv", moved(rows[:7], 0.01, 0), "lon,lat,rssi")
    held = read_samples(part, SurveySettings(), grid=all_rows.grid)
    # A degree of longitude at 49.42 degrees is 72.55 km (WGS84, published tables).
    np.testing.assert_allclose(held.xy - all_rows.xy[:7], [[725.5, 0]] * 7, atol=0.5)
    metres = write(tmp_path / "m.csv", survey())
    with pytest.raises(InputError, match="those of the survey in degrees"):
        read_samples(metres, SurveySettings(), grid=all_rows.grid)


@pytest.mark.parametrize("count", [3, 4])
def test_a_survey_may_be_of_few_points(tmp_path, count):
    found = read_samples(write(tmp_path / "s.csv", survey(count)), SurveySettings())
    assert len(found) == count
    assert 1000 < np.prod(found.grid.shape) <= 500_000
