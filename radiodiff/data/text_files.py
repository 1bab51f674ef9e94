"""Text and JSON as files in the wild hold them: encodings, byte order marks, JSON sequences."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from radiodiff.checks import require_regular
from radiodiff.errors import InputError

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> codec. The mark of UTF-32-LE starts with UTF-16-LE's, so it comes first."""
RECORD_SEPARATOR = "\x1e"
GZIP_MAGIC = b"\x1f\x8b"
MIN_NUL_SHARE = 0.2
"""Share of zero bytes above which text without a byte order mark counts as UTF-16."""


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; one compressed with gzip is unpacked.

    Raises:
        InputError: the file cannot be read or holds nothing.
    """
    require_regular(path)
    try:
        content = path.read_bytes()
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from None
    if not content.strip():
        raise InputError(f"{path}: the file is empty")
    return content


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        InputError: the file cannot be read.
    """
    require_regular(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def decode(path: Path, content: bytes, encoding: str | None = None) -> str:
    """Return bytes as text.

    Args:
        path: named in messages.
        content: of the file.
        encoding: the codec; null takes what the byte order mark says, else UTF-8, else
            Windows-1252, which differs from Latin-1 only where that has no printable characters.

    Raises:
        InputError: the codec is unknown, or does not decode the file.
    """
    codec = encoding or _find_encoding(content)
    try:
        return content.decode(codec).removeprefix("\ufeff")
    except LookupError:
        raise InputError(f"{path}: survey.encoding {codec!r} is no known encoding") from None
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise InputError(f"{path}: is not {encoding} ({error})") from None
        return content.decode("cp1252", errors="replace")


def parse_json(path: Path, text: str) -> Any:
    """Return a JSON text; several values, as in a sequence, come as a list.

    Reads one value, newline-delimited JSON, and the sequences of RFC 7464 and RFC 8142, where a
    record separator stands before each value.

    Raises:
        InputError: the text is no JSON in any of these forms.
    """
    text = text.replace(RECORD_SEPARATOR, "\n").strip()
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ValueError as error:
        first_error = error
    decoder, position = json.JSONDecoder(), 0
    values: list[Any] = []
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except RecursionError:
            raise InputError(f"{path}: nested too deeply") from None
        except ValueError:
            # A sequence of one broken value is broken JSON; its message is the useful one.
            line = text.count("\n", 0, position) + 1
            where = f"line {line}: " if values else ""
            raise InputError(f"{path}: {where}not JSON ({first_error})") from None
        values.append(value)
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
    return values


def _find_encoding(content: bytes) -> str:
    for mark, codec in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return codec
    start = content[:4096]
    if start.count(0) > MIN_NUL_SHARE * len(start):
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8"
