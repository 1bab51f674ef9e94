"""One and the same survey in the dialects people have is one and the same survey."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from radiodiff.data.surveys.samples import read_samples
from radiodiff.data.surveys.settings import SurveySettings
from radiodiff.data.surveys.table import read_table, to_numbers
from radiodiff.errors import InputError

GENERATOR = np.random.default_rng(5)
LON = np.round(GENERATOR.uniform(7.75, 7.752, 30), 7)
LAT = np.round(GENERATOR.uniform(49.424, 49.426, 30), 7)
DBM = np.round(GENERATOR.uniform(-110.0, -80.0, 30), 1)


def rows(separator=",", decimal=".", form="{}", end=""):
    lines = []
    for values in zip(LON, LAT, DBM, strict=True):
        fields = [form.format(f"{v:.7g}".replace(".", decimal)) for v in values]
        fields = [form.format(f"{v:.7f}".replace(".", decimal)) for v in values[:2]] + fields[2:]
        lines.append(separator.join(fields) + end)
    return lines


def records(x="lon", y="lat", value="rssi"):
    return [{x: a, y: b, value: c} for a, b, c in zip(LON, LAT, DBM, strict=True)]


def features(crs=None):
    return [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [a, b, 120.0]},
            "properties": {"time": "12:00", "RSSI": c},
        }
        for a, b, c in zip(LON, LAT, DBM, strict=True)
    ]


TEXTS = {
    "plain": "\n".join(["lon,lat,rssi_dbm", *rows()]),
    "crlf": "\r\n".join(["lon,lat,rssi_dbm", *rows(), ""]),
    "old mac": "\r".join(["lon,lat,rssi_dbm", *rows()]),
    "semicolon": "\n".join(["lon;lat;rssi_dbm", *rows(";")]),
    "decimal comma": "\n".join(["lon;lat;rssi_dbm", *rows(";", ",")]),
    "decimal comma in tabs": "\n".join(["lon\tlat\trssi_dbm", *rows("\t", ",")]),
    "quoted decimal comma": "\n".join(['"lon","lat","rssi"', *rows(",", ",", '"{}"')]),
    "tabs": "\n".join(["lon\tlat\trssi_dbm", *rows("\t")]),
    "bars": "\n".join(["lon|lat|rssi_dbm", *rows("|")]),
    "blanks": "\n".join(["lon lat rssi_dbm", *rows("   ")]),
    "comma and blank": "\n".join([" lon , lat , rssi_dbm ", *rows(" , ")]),
    "single quotes": "\n".join(["'lon','lat','rssi'", *rows(",", ".", "'{}'")]),
    "sep line": "\n".join(["sep=;", "lon;lat;rssi", *rows(";")]),
    "comments": "\n".join(["# drive test", "// mine", "lon,lat,rssi", *rows(), "# the end"]),
    "blank lines": "\n\n".join(["", "lon,lat,rssi", *rows(), ""]),
    "title": "\n".join(["Drive test of May", "Operator: none", "lon,lat,rssi", *rows()]),
    "trailing delimiter": "\n".join(["lon,lat,rssi", *rows(end=",")]),
    "trailing in the header too": "\n".join(["lon,lat,rssi,", *rows(end=",")]),
    "units": "\n".join(["Longitude [deg],Latitude [deg],RSSI [dBm]", *rows()]),
    "unit row": "\n".join(["lon,lat,rssi", "deg,deg,dBm", *rows()]),
    "unit in fields": "\n".join(["lon,lat,rssi", *rows(end=" dBm")]),
    "camel case": "\n".join(["gpsLongitude,gpsLatitude,signalStrength", *rows()]),
    "no header": "\n".join(rows()),
    "row names": "\n".join(["lon lat rssi", *(f"r{n} {r}" for n, r in enumerate(rows(" ")))]),
    "minus sign": "\n".join(["lon,lat,rssi", *rows()]).replace("-", "\u2212"),
    "records": json.dumps(records()),
    "nested records": json.dumps(
        [{"position": {"lng": r["lon"], "lat": r["lat"]}, "rsrp": r["rssi"]} for r in records()]
    ),
    "wrapped records": json.dumps({"device": "a", "samples": records()}),
    "columns": json.dumps({"lon": LON.tolist(), "lat": LAT.tolist(), "rssi": DBM.tolist()}),
    "split": pd.DataFrame(records()).to_json(orient="split", double_precision=10),
    "index": pd.DataFrame(records()).to_json(double_precision=10),
    "rows of json": json.dumps([["lon", "lat", "rssi"], *(list(r.values()) for r in records())]),
    "one record a line": "\n".join(map(json.dumps, records())),
    "record sequence": "".join(f"\x1e{json.dumps(r)}\n" for r in records()),
    "geojson": json.dumps({"type": "FeatureCollection", "features": features()}),
    "features a line": "\n".join(map(json.dumps, features())),
    "feature sequence": "".join(f"\x1e{json.dumps(f)}\n" for f in features()),
}


@pytest.mark.parametrize("name", TEXTS)
def test_dialects_of_text(tmp_path, name):
    path = tmp_path / "survey.txt"
    path.write_bytes(TEXTS[name].encode())
    names = {"x": 1, "y": 2, "value": 3} if name == "no header" else {}
    settings = {"columns": names, "coordinates": "degrees" if names else None}
    found = read_samples(path, SurveySettings.model_validate(settings))
    np.testing.assert_allclose(found.position, np.stack([LON, LAT], 1), atol=1e-9)
    np.testing.assert_allclose(found.values, DBM)
    assert found.grid.coordinates == "degrees"
    assert found.dropped == ({"value is no number": 1} if name == "unit row" else {})


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8-sig", b""),
        ("utf-16", b""),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-16-le", b""),
        ("utf-32", b""),
        ("cp1252", b""),
        ("latin-1", b""),
    ],
)
def test_encodings(tmp_path, encoding, mark):
    text = "\n".join(["lon (°),lat (°),Empfangspegel für LTE rsrp", *rows()])
    (tmp_path / "survey.csv").write_bytes(mark + text.encode(encoding))
    found = read_samples(tmp_path / "survey.csv", SurveySettings())
    np.testing.assert_allclose(found.values, DBM)
    assert found.columns["value"] == "Empfangspegel für LTE rsrp"


def test_compressed_text_excel_and_parquet(tmp_path):
    frame = pd.DataFrame(records())
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(TEXTS["plain"].encode()))
    paths = [tmp_path / "s.csv.gz"]
    if pytest.importorskip("openpyxl"):
        with pd.ExcelWriter(tmp_path / "s.xlsx") as writer:
            pd.DataFrame([["of May", None]]).to_excel(writer, sheet_name="about", index=False)
            frame.to_excel(writer, sheet_name="samples", index=False, startrow=3, startcol=1)
        paths.append(tmp_path / "s.xlsx")
    if pytest.importorskip("pyarrow"):
        frame.to_parquet(tmp_path / "s.parquet")
        paths.append(tmp_path / "s.parquet")
    for path in paths:
        found = read_samples(path, SurveySettings())
        np.testing.assert_allclose(found.position, np.stack([LON, LAT], 1), atol=1e-9)
        np.testing.assert_allclose(found.values, DBM)


def test_what_is_set_counts(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes("\n".join(["lon/lat/rssi/é", *rows("/", end="/0")]).encode("latin-1"))
    settings = SurveySettings(delimiter="/", decimal=".", encoding="latin-1")
    np.testing.assert_allclose(read_samples(path, settings).values, DBM)
    with pytest.raises(InputError, match="is not utf-8"):
        read_samples(path, SurveySettings(delimiter="/", encoding="utf-8"))
    with pytest.raises(InputError, match="no known encoding"):
        read_samples(path, SurveySettings(encoding="utf-9"))


@pytest.mark.parametrize(
    ("fields", "decimal", "numbers"),
    [
        (["1,5", "-2,25", ""], None, [1.5, -2.25, np.nan]),
        (["409.492,23", "5.475.267,48"], None, [409492.23, 5475267.48]),
        (["409,492.23", "5,475,267.48"], None, [409492.23, 5475267.48]),
        (["1'000.5", "2 000.5"], None, [1000.5, 2000.5]),
        (["1,5", "2.5"], ",", [1.5, 25.0]),
        (["-86 dBm", "-9e1", "7.5°", "+3"], None, [-86, -90, 7.5, 3]),
        (["n/a", "NaN", "--", "loud", "1-2", "12:30"], None, [np.nan] * 6),
        ([-86, None, 2.5], None, [-86, np.nan, 2.5]),
        ([True, "1"], None, [np.nan, 1]),
    ],
)
def test_numbers(fields, decimal, numbers):
    found, missing = to_numbers(pd.Series(fields, dtype=object), decimal)
    np.testing.assert_allclose(found, numbers)
    words = {"", "n/a", "NaN", "--", None}
    assert missing.tolist() == [field in words for field in fields]


def test_garbled_rows_are_counted_and_do_not_swallow_others(tmp_path):
    lines = ["lon,lat,rssi", *rows()]
    lines[5] = '7.75,"49.42,-86'
    lines[9] += ",1,2"
    lines[12] = "7.75"
    path = tmp_path / "s.csv"
    path.write_text("\n".join(lines))
    found = read_samples(path, SurveySettings())
    np.testing.assert_allclose(found.values, np.delete(DBM, [4, 8, 11]))
    assert found.dropped == {
        "rows with an open quote": 1,
        "rows with too many fields": 1,
        "row too short": 1,
    }
    assert found.rows == 30


def test_a_quoted_field_may_hold_delimiters_and_line_ends(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["lon,lat,rssi,note", *rows(end=',"a, b;\n#c"')]))
    assert read_table(path).frame["note"].iloc[0] == "a, b;\n#c"
    np.testing.assert_allclose(read_samples(path, SurveySettings()).values, DBM)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", b"", "the file is empty"),
        ("s.csv", b"\n \n", "the file is empty"),
        ("s.csv", b"# only\n# comments\n", "only blank lines and comments"),
        ("s.csv", b"lon,lat,rssi\n", "only the header"),
        ("s.csv", b"one\ntwo\nthree\n", "no table: no delimiter"),
        ("s.csv", b"lon,lat\n1,2\n3,4\n", "no table: no delimiter"),
        ("s.json", b'{"lon": [1, 2], "lat": [1], "rssi": [3, 4]}', "do not fit together"),
        ("s.json", b'[{"lon": 1,', "not JSON"),
        ("s.json", b"[1, 2, 3]", "holds no table"),
        ("s.geojson", b'{"type": "FeatureCollection", "features": []}', "has no points"),
        ("s.xlsx", b"no zip", "is no Excel file"),
        ("s.parquet", b"no parquet", "is no Parquet file"),
        ("s.xls", b"old", "save the sheet as .xlsx"),
        ("s.csv.gz", b"\x1f\x8bbroken", "cannot be read"),
    ],
)
def test_files_that_are_no_table_are_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_samples(path, SurveySettings())
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
