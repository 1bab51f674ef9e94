"""Tables of samples in the dialects people have: CSV, JSON, GeoJSON points, Excel, Parquet.

What the settings leave open is found out: encoding, delimiter, header line, comment lines. All
that a reader leaves out is counted. Fields stay text; :func:`to_numbers` reads them.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from radiodiff.data.surveys.json_table import SHORT, table_from_json
from radiodiff.data.text_files import decode, parse_json, read_bytes
from radiodiff.errors import InputError

DELIMITERS = ("\t", ";", "|", ",", r"\s+")
"""Tried in this order; among equals the first counts, since decimal commas look like delimiters."""
COMMENT_MARKS = ("#", "//", "%", "!")
MIN_COLUMNS = 3
"""x, y and a value."""
SNIFF_LINES = 500
MAX_QUOTED_LINES = 5
"""Lines that one quoted field may span; a quote left open for longer is a garbled row."""
MISSING_WORDS = frozenset(
    ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "---", "?", "inf", "-inf")
)
"""What files write where there is no value, in lower case."""
NUMBER = re.compile(r"^[+-]?(\d[\d.,' ]*|[.,]\d+)(e[+-]?\d+)?\s*([a-z°/%]+)?$", re.IGNORECASE)
"""A number, perhaps with separators between thousands, and perhaps with a unit behind it."""


@dataclass(frozen=True)
class Table:
    """Rows of a file, as written."""

    frame: pd.DataFrame
    """One column per name, text or numbers; no two names are equal. A column named
    ``json_table.SHORT`` marks rows with too few fields."""
    repeated: frozenset[str] = frozenset()
    """Names that the header has more than once."""
    left_out: dict[str, int] = field(default_factory=dict)
    """What the reader could not make rows of, rule -> count."""
    crs: str | None = None
    """Coordinate system that the file names, in GeoJSON."""
    notes: tuple[str, ...] = ()
    """What the user should know about how the file was read."""


def read_table(path: Path, delimiter: str | None = None, encoding: str | None = None) -> Table:
    """Read a table; the suffix names the format, and text that starts as JSON does is JSON.

    Args:
        path: CSV, TSV and other delimited text; JSON, NDJSON, GeoJSON; XLSX; Parquet. Text may
            be compressed with gzip.
        delimiter: between fields of delimited text; null finds it.
        encoding: of text; null finds it.

    Raises:
        InputError: the file cannot be read, or is no table of at least three columns.
    """
    suffix = path.suffix.lower()
    content = read_bytes(path)
    if suffix in (".xlsx", ".xlsm"):
        return _read_excel(path, content)
    if suffix in (".parquet", ".pq"):
        return _read_parquet(path, content)
    if suffix in (".xls", ".ods"):
        raise InputError(f"{path}: {suffix} is not read; save the sheet as .xlsx or .csv")
    text = decode(path, content, encoding).replace("\0", "")
    if text.lstrip("\x1e \t\r\n").startswith(("{", "[")):
        frame, crs = table_from_json(path, parse_json(path, text))
        return Table(frame, crs=crs)
    return _read_text(path, text, delimiter)


def to_numbers(column: pd.Series, decimal: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return a column as numbers, and where it holds nothing at all.

    Args:
        column: text, numbers or both; text may have a unit, a Unicode minus, separators between
            thousands and a decimal comma.
        decimal: the decimal mark; null finds it: the last mark of a field, if some field has
            it once only.

    Returns:
        (N,) float64, NaN where there is no number, and (N,) bool, true where the field is empty
        or a word for "missing".
    """
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(numbers), numbers, np.nan), ~np.isfinite(numbers)
    if decimal != "," and pd.api.types.is_string_dtype(column):
        plain = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isfinite(plain).all():  # most files need no more
            return plain, np.zeros(len(plain), dtype=bool)
    text = column.map(lambda v: "" if v is None or v is pd.NA else str(v)).astype(str)
    text = text.str.replace("[\u2212\u2013]", "-", regex=True)  # minus sign, en dash
    text = text.str.replace("[\u00a0\u202f]", " ", regex=True).str.strip(" \t\"'")
    missing = text.str.lower().isin(MISSING_WORDS).to_numpy()
    is_number = text.str.match(NUMBER)
    bare = text.where(is_number, "").str.replace(r"\s*(?![eE][+-]?\d)[a-zA-Z°/%]+$", "", regex=True)
    mark = decimal or _find_decimal(bare)
    other = "," if mark == "." else "."
    bare = bare.str.replace(f"[{other}' ]", "", regex=True).str.replace(mark, ".", regex=False)
    numbers = pd.to_numeric(bare, errors="coerce").to_numpy(dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan), missing


def _find_decimal(text: pd.Series) -> str:
    """Return the decimal mark of a column of numbers."""
    commas, dots = text.str.count(","), text.str.count(r"\.")
    if not commas.any():
        return "."
    both = (commas > 0) & (dots > 0)
    if both.any():
        last = text[both].str.rfind(",") > text[both].str.rfind(".")
        return "," if last.mean() > 0.5 else "."
    if dots.any() or (commas > 1).any():
        return "."  # a comma that may occur twice, or beside decimal dots, separates thousands
    return ","


def _read_text(path: Path, text: str, delimiter: str | None) -> Table:
    lines = re.split(r"\r\n|\n|\r", text)
    notes: list[str] = []
    if lines[0].lower().startswith("sep="):  # what Excel writes and obeys
        delimiter = delimiter or lines[0][4:].strip('" ') or "\t"
        lines = lines[1:]
    kept, broken = _records(lines)
    if not kept:
        raise InputError(f"{path}: holds no sample, only blank lines and comments")
    chosen = delimiter if delimiter is not None else _find_delimiter(path, kept)
    if chosen == " ":
        chosen = r"\s+"
    rows = _splitter(chosen)(kept[:SNIFF_LINES])
    header, first, headless = _find_header(path, rows, chosen)
    if first > 1 or (headless and first > 0):
        count = first if headless else first - 1
        notes.append(f"{count} lines before the header were passed over")
    # Column names; a column of row names has none in R's tables.
    width = Counter(map(len, rows[first:])).most_common(1)[0][0] if rows[first:] else len(header)
    if width == len(header) + 1:
        empty = all(row[-1] == "" for row in rows[first:] if len(row) == width)
        header = [*header, ""] if empty else ["", *header]
    names, repeated = _unique(header)
    body = kept[first:]
    if not body:
        raise InputError(f"{path}: holds no sample, only the header {', '.join(header)}")
    too_long = 0

    def drop(_: list[str]) -> None:
        nonlocal too_long
        too_long += 1

    frame = pd.read_csv(
        io.StringIO("\n".join(body)),
        sep=chosen,
        names=names,
        header=None,
        index_col=False,
        dtype=str,
        keep_default_na=False,
        na_values=[],
        skipinitialspace=True,
        skip_blank_lines=True,
        engine="python",
        on_bad_lines=drop,
    )
    short = frame.isna().any(axis=1)
    frame = frame.fillna("")
    if short.any():
        frame[SHORT] = short
    left_out = {"rows with an open quote": broken, "rows with too many fields": too_long}
    return Table(
        frame, repeated, {rule: n for rule, n in left_out.items() if n}, notes=tuple(notes)
    )


def _is_comment(line: str) -> bool:
    return line.lstrip("\ufeff \t\"'").startswith(COMMENT_MARKS)


def _records(lines: list[str]) -> tuple[list[str], int]:
    """Return lines without blank ones and comments, joined where a quoted field spans several.

    A quote that is not closed soon is a garbled line; it would swallow those below.

    Returns:
        The records, and the number of garbled lines.
    """
    records: list[str] = []
    broken, index = 0, 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if not line.strip() or _is_comment(line):
            continue
        if line.count('"') % 2:
            ahead = lines[index : index + MAX_QUOTED_LINES]
            closing = next((n for n, other in enumerate(ahead, 1) if other.count('"') % 2), None)
            if closing is None:
                broken += 1
                continue
            line = "\n".join([line, *lines[index : index + closing]])
            index += closing
        records.append(line)
    return records, broken


def _splitter(delimiter: str) -> Callable[[list[str]], list[list[str]]]:
    """Return what splits records into fields; line ends within a field become blanks."""
    if len(delimiter) > 1:
        return lambda records: [re.split(delimiter, record.strip()) for record in records]

    def split(records: list[str]) -> list[list[str]]:
        lines = [record.replace("\n", " ") for record in records]
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        return [[field.strip() for field in row] for row in reader]

    return split


def _find_delimiter(path: Path, lines: list[str]) -> str:
    """Return the delimiter that most rows agree on, under a header of names."""
    best, best_score = "", 0.0
    for delimiter in DELIMITERS:
        rows = _splitter(delimiter)(lines[:SNIFF_LINES])
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < MIN_COLUMNS:
            continue
        header = next(row for row in rows if len(row) >= width - 1)
        named = not _is_data(header)
        score = count / len(rows) * (1.0 if named else 0.5)
        if score > best_score + 0.05:
            best, best_score = delimiter, score
    if not best:
        raise InputError(
            f"{path}: no table: no delimiter (tab, semicolon, bar, comma, space) splits most lines "
            f"into three columns or more; the first line is {lines[0][:60]!r}; set survey.delimiter"
        )
    return best


def _find_header(path: Path, rows: list[list[str]], delimiter: str) -> tuple[list[str], int, bool]:
    """Return the header, the index of the first row below it, and whether it is made up."""
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width < MIN_COLUMNS:
        raise InputError(
            f"{path}: the delimiter {delimiter!r} splits most lines into {width} columns; x, y and "
            "a value make three"
        )
    for index, row in enumerate(rows):
        if len(row) >= max(MIN_COLUMNS, width - 1):
            if _is_data(row):
                return [str(n + 1) for n in range(width)], index, True
            return [name.strip(" \"'") for name in row], index + 1, False
    raise AssertionError("some row has the most common width")


def _is_data(row: list[str]) -> bool:
    """Say whether a row holds values, and not names: most of its fields are numbers."""
    return sum(bool(NUMBER.match(text.strip(" \"'"))) for text in row) * 2 > len(row)


def _unique(header: list[str]) -> tuple[list[str], frozenset[str]]:
    """Make names differ, and return those that did not."""
    count: Counter[str] = Counter()
    names = []
    for name in header:
        count[name] += 1
        names.append(name if count[name] == 1 and name else f"{name} ({count[name]})".strip())
    return names, frozenset(name for name, n in count.items() if n > 1 and name)


def _read_excel(path: Path, content: bytes) -> Table:
    try:
        sheets = pd.read_excel(
            io.BytesIO(content), sheet_name=None, header=None, dtype=object, engine="openpyxl"
        )
    except ImportError:
        raise InputError(
            f"{path}: Excel files need openpyxl; install it with pip install 'radiodiff[tables]'"
        ) from None
    except Exception as error:  # openpyxl raises errors of zipfile, of XML and its own
        raise InputError(f"{path}: is no Excel file ({error})") from None
    for name, sheet in sheets.items():
        cells = sheet.dropna(how="all").dropna(how="all", axis=1)
        if cells.shape[1] < MIN_COLUMNS:
            continue
        filled = cells.notna().sum(axis=1)
        first = int(np.argmax(filled.to_numpy() >= filled.median()))
        names, repeated = _unique(["" if pd.isna(v) else str(v).strip() for v in cells.iloc[first]])
        frame = cells.iloc[first + 1 :].reset_index(drop=True)
        frame.columns = pd.Index(names)
        others = [other for other in sheets if other != name]
        note = (f"read the sheet {name!r}; others: {', '.join(others)}",) if others else ()
        return Table(frame, repeated, notes=note)
    raise InputError(f"{path}: no sheet has three columns or more")


def _read_parquet(path: Path, content: bytes) -> Table:
    try:
        return Table(pd.read_parquet(io.BytesIO(content)).reset_index(drop=True))
    except ImportError:
        raise InputError(
            f"{path}: Parquet files need pyarrow; install it with pip install 'radiodiff[tables]'"
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: is no Parquet file ({error})") from None
