"""Which column of a table is what, by the names that surveys use, and who transmitted a row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from radiodiff.data.surveys.json_table import GEOMETRY_X, GEOMETRY_Y, SHORT
from radiodiff.data.surveys.table import Table
from radiodiff.errors import InputError

LONGITUDE = ("longitude", "lon", "lng", "long", "gpslon", "gpslongitude")
LATITUDE = ("latitude", "lat", "gpslat", "gpslatitude")
X_NAMES = (*LONGITUDE, "easting", "east", "utmx", "utmeasting", "rechtswert", "e", "x", "posx")
Y_NAMES = (*LATITUDE, "northing", "north", "utmy", "utmnorthing", "hochwert", "n", "y", "posy")
VALUE_NAMES = (
    "rsrp", "ssrsrp", "nrssrsrp", "rscp", "rssi", "rss", "rxlev", "rxlevel", "rxpower", "prx",
    "receivedpower", "receivedsignalstrength", "signalstrength", "signallevel", "signal", "power",
    "level", "gaindb", "pathgaindb", "pathgain", "gain", "receiveddbm", "dbm", "value",
)  # fmt: skip
"""In the order of preference, without blanks, units and signs."""
NOT_VALUES = frozenset(
    ("std", "noise", "var", "min", "max", "count", "tx", "transmit", "snr", "sinr", "rsrq")
)
"""Words that make a column with the name of a value another quantity."""
TRANSMITTERS = (
    "pci", "cellid", "cell", "ci", "cid", "eci", "nci", "enb", "enodeb", "gnb", "gnodeb", "sector",
    "bssid", "ssid", "mac", "macaddress", "ap", "accesspoint", "gateway", "gatewayid", "gw", "gwid",
    "gatewayeui", "eui", "basestation", "bs", "bsid", "station", "site", "siteid", "transmitter",
    "transmitterid", "tx", "txid", "antenna", "beacon", "anchor", "anchorid", "node", "nodeid",
    "operator", "mnc", "plmn", "earfcn", "arfcn", "nrarfcn", "band", "channel",
)  # fmt: skip
"""Names of columns that tell transmitters apart, in the order in which they are looked at."""
MIN_PAIRS = 8
"""Neighbouring pairs from which differences between transmitters are told."""
MAX_COMPARED = 5000
"""Rows that are compared, drawn from larger files."""
MIN_EXCESS_DB = 3.0
"""Median difference between neighbours of two transmitters, over that of one, that is spoken of."""


def find_columns(
    path: Path, table: Table, wanted: dict[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """Return the columns of x, y and the value.

    Args:
        path: named in messages.
        table: the rows.
        wanted: "x", "y" and "value" -> a name, or null to find it. Names are compared without
            case, blanks, units and signs if none is equal.

    Returns:
        The name in the table for each key, and what the user should know about the choice.

    Raises:
        InputError: a column is missing or is there twice.
    """
    common = {"x": X_NAMES, "y": Y_NAMES, "value": VALUE_NAMES}
    found, notes = {}, []
    for key, name in wanted.items():
        if name is not None:
            found[key] = find_column(path, table, name, f"survey.columns.{key}")
            continue
        geometry = {"x": GEOMETRY_X, "y": GEOMETRY_Y}.get(key)
        if geometry in table.frame.columns:
            found[key] = str(geometry)
            continue
        candidates = _candidates(table, common[key], NOT_VALUES if key == "value" else frozenset())
        if not candidates:
            raise InputError(
                f"{path}: no column looks like {key}; the file has {_names(table)}; name it with "
                f"survey.columns.{key}"
            )
        _check_unique(path, table, candidates[0])
        found[key] = candidates[0]
        if key == "value" and len(candidates) > 1:
            notes.append(
                f"the value is read from column {candidates[0]!r}; survey.columns.value chooses "
                f"another ({', '.join(candidates[1:4])})"
            )
    if is_latitude(found["x"]) and is_longitude(found["y"]):
        raise InputError(
            f"{path}: x is column {found['x']!r} and y is {found['y']!r}; x is the longitude, so "
            "swap survey.columns.x and survey.columns.y"
        )
    return found, notes


def find_column(path: Path, table: Table, name: str, key: str) -> str:
    """Return the column of a name, compared without case, blanks, units and signs if none is equal.

    Raises:
        InputError: there is none, or there are several.
    """
    columns = [str(column) for column in table.frame.columns]
    matches = [c for c in columns if c == name] or [
        c for c in columns if _plain(c) == _plain(name) and c != SHORT
    ]
    if not matches:
        raise InputError(f"{path}: no column {name!r}; the file has {_names(table)}; set {key}")
    if len(matches) > 1:
        raise InputError(f"{path}: {name!r} may be {' or '.join(map(repr, matches))}; set {key}")
    _check_unique(path, table, matches[0])
    return matches[0]


def is_longitude(name: str) -> bool:
    """Say whether the name of a column means a longitude."""
    return bool(_words(name) & set(LONGITUDE))


def is_latitude(name: str) -> bool:
    """Say whether the name of a column means a latitude."""
    return bool(_words(name) & set(LATITUDE))


def several_transmitters(
    frame: pd.DataFrame, xy: np.ndarray, values: np.ndarray, used: Sequence[str]
) -> str | None:
    """Say that the rows look like those of several transmitters, or return None.

    Rows with different names of transmitters are compared with their nearest neighbours of the
    same and of another name. If the latter differ by more, one map of all rows is a map of none.

    Args:
        frame: (N rows) of the table.
        xy: (N, 2) metres.
        values: (N,) dB or dBm.
        used: columns that rows were selected by.
    """
    if len(frame) > MAX_COMPARED:
        chosen = np.random.default_rng(0).choice(len(frame), MAX_COMPARED, replace=False)
        frame, xy, values = frame.iloc[chosen], xy[chosen], values[chosen]
    names = [str(column) for column in frame.columns if column not in used]
    words = {name: _words(name) for name in names}
    for transmitter in TRANSMITTERS:
        for name in names:
            if transmitter not in words[name]:
                continue
            labels, kinds = pd.factorize(frame[name].astype(str).str.strip())
            if not 1 < len(kinds) <= max(2, len(frame) // 3):
                continue
            said = _compare(name, labels, list(map(str, kinds)), xy, values)
            if said is not None:
                return said
    return None


def _compare(
    name: str, labels: np.ndarray, kinds: list[str], xy: np.ndarray, values: np.ndarray
) -> str | None:
    same, other = [], []
    spacing = _spacing(xy)
    for kind in range(len(kinds)):
        own, rest = np.flatnonzero(labels == kind), np.flatnonzero(labels != kind)
        if len(own) > 1:
            distance, near = cKDTree(xy[own]).query(xy[own], k=2)
            close = distance[:, 1] <= 3 * spacing
            same.append(np.abs(values[own] - values[own[near[:, 1]]])[close])
        distance, near = cKDTree(xy[rest]).query(xy[own])
        close = distance <= 3 * spacing
        other.append(np.abs(values[own] - values[rest[near]])[close])
    within, between = np.concatenate([*same, []]), np.concatenate([*other, []])
    shown = ", ".join(kinds[:3]) + (", ..." if len(kinds) > 3 else "")
    advice = (
        f"survey.where={{{name}: {kinds[0]}}} takes one, survey.group_by={name} makes a map of each"
    )
    if len(between) < MIN_PAIRS or len(within) < MIN_PAIRS:
        return (
            f"column {name!r} names {len(kinds)} transmitters ({shown}) at different places; the "
            f"map mixes them; {advice}"
        )
    excess = float(np.median(between) - np.median(within))
    if excess < MIN_EXCESS_DB:
        return None
    return (
        f"column {name!r} names {len(kinds)} transmitters ({shown}) whose samples at the same "
        f"places differ by {np.median(between):.0f} dB; the map is of none of them; {advice}"
    )


def _spacing(xy: np.ndarray) -> float:
    places = np.unique(xy, axis=0)
    if len(places) < 2:
        return 1.0
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))


def _candidates(table: Table, common: Sequence[str], excluded: frozenset[str]) -> list[str]:
    """Return columns whose name is a common one, in the order of these; whole names come first."""
    names = [str(column) for column in table.frame.columns if column != SHORT]
    whole = [n for word in common for n in names if _plain(n) == word]
    part = [n for word in common for n in names if word in _words(n) and not _words(n) & excluded]
    return list(dict.fromkeys([*whole, *part]))


def _check_unique(path: Path, table: Table, name: str) -> None:
    if name in table.repeated:
        raise InputError(
            f"{path}: has several columns named {name!r}; rename or remove all but one of them"
        )


def _plain(name: str) -> str:
    """Return a name in lower case without its unit in brackets, blanks and signs."""
    bare = re.sub(r"[\[(].*?[\])]", "", name) or name
    return re.sub(r"[\W_]", "", bare).lower()


def _words(name: str) -> set[str]:
    """Return the words of a name, and neighbours joined: "GPS_LongitudeDeg" has "longitude"."""
    bare = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[\[(].*?[\])]", "", name) or name)
    words = [word.lower() for word in re.split(r"[\W_]+", bare) if word]
    joined = {"".join(words[i : i + n]) for n in (1, 2, 3) for i in range(len(words) - n + 1)}
    return joined | {_plain(name)}


def _names(table: Table) -> str:
    names = [str(column) for column in table.frame.columns if column != SHORT]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "none"
