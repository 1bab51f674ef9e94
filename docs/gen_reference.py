"""The generated pages: every configuration key, the API from docstrings, notebooks and speed.

MkDocs runs this file as a hook (``mkdocs.yml``) and mkdocstrings loads :class:`Roles` from it.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from griffe import Extension
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from radiodiff.commands.main import COMMANDS
from radiodiff.config import Settings
from radiodiff.config_keys import ConfigKey, config_keys

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "radiodiff"
CONFIGURATION = "reference/configuration"
API = "reference/api"
NOTEBOOKS = ROOT / "docs" / "notebooks"
REFERENCE_SPEED = ROOT / "tests" / "benchmarks" / "reference.json"
SPEED_MARK = "<!-- speed -->"
BAR = "&#124;"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, below the pages that introduce them."""
    assert config.nav is not None
    (reference,) = (entry["Reference"] for entry in config.nav if "Reference" in entry)
    for introduction, title, pages in (
        (f"{CONFIGURATION}.md", "Configuration keys", configuration_pages()),
        (f"{API}.md", "Python API", api_pages()),
    ):
        position = reference.index(introduction)
        reference[position] = {title: [introduction, *pages]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those that are written by hand."""
    pages = {**configuration_pages(), **api_pages(), **notebook_pages()}
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the table of the committed benchmark where a page asks for it."""
    return markdown.replace(SPEED_MARK, speed_table()) if SPEED_MARK in markdown else markdown


def notebook_pages() -> dict[str, str]:
    """Return the cells of every notebook as a page."""
    return {
        f"notebooks/{path.stem}.md": _notebook_page(path)
        for path in sorted(NOTEBOOKS.glob("*.ipynb"))
    }


def _notebook_page(path: Path) -> str:
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    parts.append(f"[The notebook]({path.name}) to run it yourself.")
    return "\n\n".join(parts) + "\n"


def speed_table() -> str:
    """Return the ratios of the committed benchmark, with seconds and rates, as a table."""
    found = json.loads(REFERENCE_SPEED.read_text(encoding="utf-8"))
    unit = found["machine"]["seconds_of_reference"]
    lines = ["| task | matrix products | seconds | per second |", "|---|---:|---:|---:|"]
    for name, ratio in found["ratios"].items():
        seconds = ratio * unit
        lines.append(f"| `{name}` | {ratio:g} | {seconds:.3g} | {1 / seconds:.3g} |")
    return "\n".join(lines) + f"\n\nMachine: one core of {found['machine']['processor']}."


def configuration_pages() -> dict[str, str]:
    """Return the pages of configuration keys: one for each command, by their place in the docs."""
    return {
        f"{CONFIGURATION}/{script.stem}.md": _configuration_page(script, models)
        for script in sorted((PACKAGE / "commands").glob("*.py"))
        if (models := configuration_models(script))
    }


def configuration_models(script: Path) -> list[type[Settings]]:
    """Return the models that a command hands to ``parse_config``, found without running it."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    homes = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = [
        node.args[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "parse_config"
        and isinstance(node.args[0], ast.Name)
    ]
    return [resolve_name(homes[name]) for name in dict.fromkeys(names)]


def _configuration_page(script: Path, models: list[type[Settings]]) -> str:
    (name,) = (command for command, (module, _) in COMMANDS.items() if module == script.stem)
    summary = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    lines = [f"# {script.stem}", "", summary.partition("\n\n")[0], ""]
    lines += [f"    radiodiff {name} --config FILE.yaml key.path=value ...", ""]
    for model in models:
        if len(models) > 1:
            lines += [f"## {model.__name__}", "", (model.__doc__ or "").partition("\n\n")[0], ""]
        depth = "###" if len(models) > 1 else "##"
        for section, keys in _by_section(config_keys(model)).items():
            lines += [f"{depth} `{section}`" if section else f"{depth} Top level", ""]
            lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
            lines += [_row(key) for key in keys]
            lines.append("")
    return "\n".join(lines)


def _by_section(keys: list[ConfigKey]) -> dict[str, list[ConfigKey]]:
    """Group keys by the first part of their path; keys without a section come first."""
    sections = {re.split(r"[.\[ ]", key.path)[0] for key in keys if _is_nested(key)}
    grouped: dict[str, list[ConfigKey]] = defaultdict(list, {"": []})
    for key in keys:
        first = re.split(r"[.\[ ]", key.path)[0]
        grouped[first if first in sections else ""].append(key)
    return {section: found for section, found in grouped.items() if found}


def _is_nested(key: ConfigKey) -> bool:
    return re.search(r"[.\[ ]", key.path) is not None


def _row(key: ConfigKey) -> str:
    columns = [
        _code(key.path),
        _code(key.type),
        "**required**" if key.default is None else _code(key.default),
        key.meaning.replace("|", BAR),
    ]
    return f"| {' | '.join(columns)} |"


def _code(text: str) -> str:
    """Return text as code; in a table a bar would end the column, even in Markdown's own code."""
    return f"<code>{html.escape(text).replace('|', BAR)}</code>"


def api_pages() -> dict[str, str]:
    """Return the pages of the API: one for each package, by their place in the docs."""
    return {f"{API}/{name}.md": content for name, content in _api_pages()}


def _api_pages() -> Iterator[tuple[str, str]]:
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        modules = [
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in sorted(folder.glob("*.py"))
            if path.stem != "__init__"
        ]
        if modules:
            name = ".".join(folder.relative_to(ROOT).parts)
            blocks = "\n\n".join(f"::: {module}" for module in modules)
            yield name, f"# {name}\n\n{blocks}\n"


class Roles(Extension):
    """Turns the roles of docstrings, such as ``:class:`Settings```, into code."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite the docstring of one object before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", obj.docstring.value)
