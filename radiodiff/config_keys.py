"""Every key of a configuration with its type, default and meaning, from the pydantic models."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_NAMES = {Path: "path", str: "text", bool: "true | false", type(None): "null", Any: "anything"}


@dataclass(frozen=True)
class ConfigKey:
    """One key of a configuration.

    Attributes:
        path: where it is, such as ``data.split``; ``[]`` stands for an entry of a list and ``NAME``
            for a name that the user chooses. Alternatives of a section follow it in brackets, such
            as ``model (name: uvmnet).widths``.
        type: what is allowed, such as ``int >= 1``.
        default: as YAML; None where the key is required.
        meaning: its description.
    """

    path: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Alternatives:
    """Annotation of a field whose section is one of several that a registry holds."""

    discriminator: str
    """Key of the section that names the alternative."""
    load: Callable[[], Mapping[str, type[BaseModel]]]
    """Returns every alternative by its name; called only when they are listed."""


def config_keys(model: type[BaseModel]) -> list[ConfigKey]:
    """Return the keys of a configuration and of its sections, in the order of declaration."""
    return list(_keys(model, ""))


def format_keys(keys: Sequence[ConfigKey], width: int) -> str:
    """Return keys as text for a terminal of ``width`` columns, two or more lines for each."""
    lines = []
    for key in keys:
        default = "required" if key.default is None else f"default {key.default}"
        head = f"  {key.path}: {key.type} ({default})"
        lines += textwrap.wrap(head, max(width, 40), subsequent_indent="      ")
        indent = " " * 6
        lines += textwrap.wrap(
            key.meaning, max(width, 40), initial_indent=indent, subsequent_indent=indent
        )
    return "\n".join(lines)


def _keys(model: type[BaseModel], prefix: str) -> Iterator[ConfigKey]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        sections = list(_sections(field.annotation, field.discriminator))
        meaning = " ".join((field.description or "").split())
        if not meaning and len(sections) == 1:
            meaning = " ".join((sections[0][1].__doc__ or "").split())
        yield ConfigKey(path, _type_of(field), _default_of(field), meaning)
        for suffix, section in sections:
            yield from _keys(section, f"{path}{suffix}.")


def _sections(annotation: Any, discriminator: Any = None) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the sections inside an annotation, each with what its keys' path needs in addition."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for registered in (item for item in arguments[1:] if isinstance(item, Alternatives)):
            for name, section in sorted(registered.load().items()):
                yield f" ({registered.discriminator}: {name})", section
            return
        found = [item.discriminator for item in arguments[1:] if isinstance(item, FieldInfo)]
        yield from _sections(arguments[0], next(iter(found), discriminator))
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            for suffix, section in _sections(argument):
                if isinstance(discriminator, str) and not suffix:
                    tags = get_args(section.model_fields[discriminator].annotation)
                    suffix = f" ({discriminator}: {' | '.join(map(str, tags))})"
                yield suffix, section
    elif origin in (tuple, list, Sequence):
        for suffix, section in _sections(arguments[0]):
            yield f"[]{suffix}", section
    elif origin in (dict, Mapping):
        for suffix, section in _sections(arguments[1]):
            yield f".NAME{suffix}", section


def _type_of(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    named = _type_name(field.annotation)
    return f"{named}, {' and '.join(bounds)}" if bounds else named


def _type_name(annotation: Any) -> str:
    if annotation in _NAMES:
        return _NAMES[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type_name(argument) for argument in arguments))
    if origin in (tuple, list, Sequence):
        of = [argument for argument in arguments if argument is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(map(_type_name, of))}]"
        return f"list of {_type_name(of[0])}"
    if origin in (dict, Mapping):
        return f"{_type_name(arguments[0])} -> {_type_name(arguments[1])}"
    return getattr(annotation, "__name__", str(annotation))


def _default_of(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel):
        return "its own defaults"
    if isinstance(default, Path):
        default = str(default)
    if isinstance(default, tuple):
        default = list(default)
    text = yaml.safe_dump(default, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
