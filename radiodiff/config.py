"""Typed configuration: one YAML file is one pydantic model.

A model is declared beside the code it configures, as a subclass of :class:`Settings`. This module
loads it from YAML, applies ``key.path=value`` overrides, and turns every mistake into one line that
names the file, the key, what was found and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from radiodiff.errors import InputError
from radiodiff.files import write_text
from radiodiff.shipped import find_config

Precision = Literal["fp32", "bf16", "fp16"]
"""What networks compute in."""


class Settings(BaseModel):
    """Base of every configuration section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True
    )


SettingsT = TypeVar("SettingsT", bound=Settings)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML loader that refuses a key written twice, which plain YAML silently overwrites."""


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen:
            raise yaml.constructor.ConstructorError(
                problem=f"key {key!r} is written twice", problem_mark=key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)  # resolves "<<", whose keys may be overridden
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def load_config(
    path: str | Path, model: type[SettingsT], overrides: Sequence[str] = ()
) -> SettingsT:
    """Read a YAML file into ``model``, after applying ``key.path=value`` overrides.

    Args:
        path: YAML file, or the name of a shipped one, such as ``small/infer_inverse``.
        model: the subclass of :class:`Settings` that describes the experiment.
        overrides: strings such as ``train.steps=100``; the value is parsed as YAML.

    Raises:
        InputError: the file is missing or no YAML, or a key is unknown, missing or impossible.
    """
    text = find_config(path).read_text(encoding="utf-8")
    data = _parse_yaml(text, where=str(path))
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: a configuration is a mapping of keys, found {_kind(data)}")
    for override in overrides:
        _apply_override(data, override)
    return _validate(data, model, where=str(path))


def save_config(config: Settings, path: str | Path) -> None:
    """Write the resolved configuration as YAML; :func:`load_config` reads it back unchanged."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise InputError(f"{where}{line}: not valid YAML: {error.problem}") from None


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"override {override!r}: expected key.path=value")
    value = _parse_yaml(text, where=f"override {override!r}")
    *parents, leaf = key.split(".")
    node: Any = data
    for parent in parents:
        node = _descend(node, parent, override)
    if isinstance(node, list):
        node[_index(node, leaf, override)] = value
    elif isinstance(node, dict):
        node[leaf] = value
    else:
        raise InputError(f"override {override!r}: {leaf!r} is below a plain value")


def _descend(node: Any, key: str, override: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, key, override)]
    if isinstance(node, dict):
        if node.get(key) is None:
            node[key] = {}
        return node[key]
    raise InputError(f"override {override!r}: {key!r} is below a plain value")


def _index(node: list[Any], key: str, override: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise InputError(
            f"override {override!r}: {key!r} is no index of a list of {len(node)} (0 .. "
            f"{len(node) - 1})"
        )
    return int(key)


def _validate(data: dict[str, Any], model: type[SettingsT], where: str) -> SettingsT:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_explain(detail, model) for detail in error.errors())
        raise InputError(f"{where}: {problems}") from None


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        allowed = f" (allowed: {', '.join(known)})" if known else ""
        return f"{key}: unknown key{hint}{allowed}"
    if detail["type"] == "missing":
        return f"{key}: this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: found {found!r}, {message[0].lower()}{message[1:]}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the section at ``location``, or [] where it is ambiguous."""
    section: Any = model
    for part in location:
        fields = getattr(section, "model_fields", None)
        if fields is None or part not in fields:
            return []
        section = fields[part].annotation
    return sorted(getattr(section, "model_fields", {}))


def _kind(value: object) -> str:
    return "a list" if isinstance(value, list) else f"the single value {value!r}"
