"""Reading YAML that anybody may have written: bounded in size, depth and growth, and one error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from radiodiff.errors import InputError

MAX_BYTES = 2**20
"""Longer texts are refused: no configuration comes near, and reading them takes minutes."""
MAX_VALUES = 100_000
"""Values after aliases are resolved; nested aliases grow exponentially ("a billion laughs")."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that refuses a key written twice, which plain YAML silently overwrites."""


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(
                problem="a key is a list or a mapping", problem_mark=key_node.start_mark
            )
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(
                problem=f"key {key!r:.80} is written twice", problem_mark=key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)  # resolves "<<", whose keys may be overridden
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def read_text(path: Path) -> str:
    """Read a text file of UTF-8.

    Raises:
        InputError: the file cannot be read, is too long, or is in another encoding.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r:.200}: cannot be read ({reason})") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES} bytes; this is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 (byte {error.start}); save it in that encoding"
        ) from None


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into plain values.

    Args:
        text: of at most ``MAX_BYTES``.
        where: what messages start with.

    Raises:
        InputError: it is not valid, too deep or too large once its aliases are resolved.
    """
    try:
        if len(text) > MAX_BYTES:
            raise InputError(f"{where:.200}: more than {MAX_BYTES} characters")
        value = yaml.load(text, Loader=_UniqueKeyLoader)
        _count(value, where, [0])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = " ".join(str(error.problem).split())
        raise InputError(f"{where:.200}{line}: not valid YAML: {problem:.200}") from None
    except yaml.reader.ReaderError as error:
        raise InputError(
            f"{where:.200}: not valid YAML: character #x{ord_of(error):04x} at position "
            f"{error.position} is not allowed"
        ) from None
    except RecursionError:
        raise InputError(f"{where:.200}: nested too deeply") from None
    except InputError:
        raise
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:
        # PyYAML's own constructors: months of 13, numbers without digits, sets of lists
        reason = " ".join(str(error).split())
        raise InputError(f"{where:.200}: not valid YAML: {reason:.200}") from None
    return value


def ord_of(error: yaml.reader.ReaderError) -> int:
    """Return the number of the character or byte that YAML does not allow."""
    character = error.character
    return character if isinstance(character, int) else ord(character)


def _count(value: Any, where: str, total: list[int]) -> None:
    """Count values, aliased ones each time they appear."""
    total[0] += 1
    if total[0] > MAX_VALUES:
        raise InputError(f"{where:.200}: more than {MAX_VALUES} values, aliases resolved")
    if isinstance(value, dict):
        for entry in value.values():
            _count(entry, where, total)
    elif isinstance(value, list | tuple | set):
        for entry in value:
            _count(entry, where, total)
