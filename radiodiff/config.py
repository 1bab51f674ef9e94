"""Typed configuration: one YAML file is one pydantic model.

A model is declared beside the code it configures, as a subclass of :class:`Settings`. This module
loads it from YAML, applies ``key.path=value`` overrides, and turns every mistake into one line that
names the file, the key, what was found and what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from radiodiff.errors import InputError
from radiodiff.files import write_text
from radiodiff.shipped import find_config
from radiodiff.yaml_text import parse_yaml, read_text

MAX_PROBLEMS = 5
"""Problems that a message lists."""
MAX_QUOTED = 200
"""Characters of a value that a message quotes."""

Precision = Literal["fp32", "bf16", "fp16"]
"""What networks compute in."""


_WRONG_TYPE = "Input should be a valid "
_TYPE = re.compile(r"(str|int|float|bool|list|tuple|dict)\b")
_NUMBER = "number"
"""Kind of the errors of :func:`_check_number`, which name their key themselves."""
MAX_SEED = 2**63 - 1
MAX_NUMBER = 10**8
"""Largest whole number of any other setting; more is a slip of the pen."""


def _check_number(name: str, value: object, annotation: Any) -> None:
    """Refuse true and false for numbers, and whole numbers beyond any use.

    Raises:
        PydanticCustomError: naming the key.
    """
    if isinstance(value, bool):
        kinds = {annotation, *get_args(annotation)}
        if kinds & {int, float} and bool not in kinds:
            raise PydanticCustomError(
                _NUMBER, f"{name}: found {str(value).lower()}, expected a number"
            )
    elif isinstance(value, int):
        largest = MAX_SEED if "seed" in name else MAX_NUMBER
        if abs(value) > largest:
            shown = value if abs(value) < 10**30 else "a number of more than 30 digits"
            raise PydanticCustomError(
                _NUMBER, f"{name}: found {shown}, allowed are at most {largest}"
            )


class Settings(BaseModel):
    """Base of every configuration section: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name, field in cls.model_fields.items():
                _check_number(name, data.get(name), field.annotation)
        return data


SettingsT = TypeVar("SettingsT", bound=Settings)


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
    path = find_config(path)
    data = parse_yaml(read_text(path), where=str(path))
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


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"override {override!r}: expected key.path=value")
    value = parse_yaml(text, where=f"override {override!r}")
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
        details = _merge_alternatives(error.errors())
        problems = "; ".join(_explain(detail, model) for detail in details[:MAX_PROBLEMS])
        more = len(details) - MAX_PROBLEMS
        if more > 0:
            problems += f"; and {more} more problems"
        raise InputError(f"{where}: {problems}") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None


def _merge_alternatives(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Say once what pydantic says of every type that a value may have."""
    merged: list[ErrorDetails] = []
    for detail in details:
        last = merged[-1] if merged else None
        kind = detail["msg"].removeprefix(_WRONG_TYPE)
        if (
            last is not None
            and kind != detail["msg"]
            and _TYPE.match(str(detail["loc"][-1]))
            and last["msg"].startswith(_WRONG_TYPE)
            and detail["input"] is last["input"]
            and detail["loc"][:-1] in (last["loc"], last["loc"][:-1])
        ):
            merged[-1] = {**last, "loc": detail["loc"][:-1], "msg": f"{last['msg']} or {kind}"}
        else:
            merged.append(detail)
    return merged


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    found = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = _fields_at(model, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        key = _shorten(key)
        hint = f", did you mean {close[0]!r}?" if close else ""
        allowed = f" (allowed: {', '.join(known)})" if known else ""
        return f"{key}: unknown key{hint}{allowed}"
    if detail["type"] == "missing":
        return f"{key}: this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == _NUMBER:
        return f"{key}.{message}" if detail["loc"] else message
    return f"{key}: found {_shorten(repr(found))}, {message[0].lower()}{message[1:]}"


def _shorten(text: str) -> str:
    """Cut what a message quotes."""
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


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
