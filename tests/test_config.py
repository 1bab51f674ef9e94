from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from radiodiff.config import Settings, load_config, save_config
from radiodiff.errors import InputError


class Section(Settings):
    rate: float = Field(gt=0)
    kind: Literal["linear", "cosine"] = "linear"
    sizes: tuple[int, ...] = (1, 2)


class Experiment(Settings):
    train: Section
    name: str = "run"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return path


def test_overrides_reach_nested_keys_and_list_entries(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {rate: 1.0, sizes: [4, 5]}")
    config = load_config(path, Experiment, ["train.rate=2e-3", "train.sizes.1=7", "name=other"])
    assert config.train.rate == 0.002
    assert config.train.sizes == (4, 7)
    assert config.name == "other"


def test_the_resolved_configuration_can_be_run_again(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "train: {rate: 0.1}"), Experiment, ["train.kind=cosine"])
    save_config(config, tmp_path / "resolved.yaml")
    assert load_config(tmp_path / "resolved.yaml", Experiment) == config


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("train: {rate: 1, ratte: 2}", [], ["train.ratte", "unknown key", "'rate'"]),
        ("train: {rate: -1}", [], ["train.rate", "found -1", "greater than 0"]),
        ("train: {rate: 1, kind: cubic}", [], ["train.kind", "'cubic'", "'linear' or 'cosine'"]),
        ("train: {}", [], ["train.rate", "required"]),
        ("train: {rate: 1}\ntrain: {rate: 2}", [], ["line 2", "'train' is written twice"]),
        ("train: [", [], ["line 1", "not valid YAML"]),
        ("- 1", [], ["mapping", "a list"]),
        ("train: {rate: 1}", ["train.rate"], ["train.rate", "key.path=value"]),
        ("train: {rate: 1}", ["name.x=1", "name=2"], ["name"]),
        ("train: {rate: 1, sizes: [1]}", ["train.sizes.3=1"], ["'3'", "list of 1"]),
        ("train: {rate: 1}\nname: a", ["name.deeper=1"], ["below a plain value"]),
    ],
)
def test_a_mistake_is_one_line_with_file_or_key(
    tmp_path: Path, text: str, overrides: list[str], words: list[str]
) -> None:
    with pytest.raises(InputError) as error:
        load_config(write(tmp_path, text), Experiment, overrides)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such configuration file"):
        load_config(tmp_path / "nowhere.yaml", Experiment)


def test_a_section_may_be_merged_and_overridden(tmp_path: Path) -> None:
    class Two(Settings):
        a: Section
        b: Section

    path = write(tmp_path, "a: &a {rate: 1.0, kind: cosine}\nb:\n  <<: *a\n  rate: 2.0")
    config = load_config(path, Two)
    assert (config.b.rate, config.b.kind) == (2.0, "cosine")


def test_sections_are_frozen() -> None:
    section = Section(rate=1.0)
    with pytest.raises(ValueError, match="frozen"):
        section.rate = 2.0


class Filter(Section):
    where: dict[str, str | int | float]
    other: dict[str, str]


def test_what_a_value_may_be_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "filter.yaml"
    path.write_text("where: {pci: null}\nother: {a: null, b: null}\n")
    with pytest.raises(InputError) as error:
        load_config(path, Filter)
    assert "where.pci: found None, input should be a valid string or integer or number;" in str(
        error.value
    )
    assert str(error.value).count("other.") == 2
