import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from radiodiff import cli
from radiodiff.config import Settings, load_config
from radiodiff.errors import InputError


class Experiment(Settings):
    steps: int = 1
    seed: int = 0


def test_a_wrong_input_leaves_with_status_2_and_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        raise InputError("map.png: not a PNG")

    with pytest.raises(SystemExit) as exit_info:
        cli.run_main(main)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: map.png: not a PNG\n"


class _Unreadable(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise InputError("map.png: not a PNG")


def test_one_line_is_all_that_is_left_of_a_loader_workers_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.run_main(lambda: next(iter(DataLoader(_Unreadable(), num_workers=1))))
    assert capsys.readouterr().err == "error: map.png: not a PNG\n"


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run_main(main)


def test_overrides_may_stand_before_or_after_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 3")
    monkeypatch.setattr(sys, "argv", ["train.py", "seed=4", "--config", str(path), "steps=5"])
    config, _ = cli.parse_config(Experiment, "test")
    assert config == Experiment(steps=5, seed=4)
    assert "steps: 5" in capsys.readouterr().out


def test_shortcuts_set_keys_to_any_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named(Settings):
        name: str

    path = tmp_path / "c.yaml"
    path.write_text("name: here")
    shortcuts = {"--name": "name"}
    for text in ("12", "a: [b", "null", "größer", "x #y"):
        monkeypatch.setattr(sys, "argv", ["x.py", "--config", str(path), "--name", text])
        assert cli.parse_config(Named, "test", shortcuts=shortcuts)[0].name == text
    monkeypatch.setattr(sys, "argv", ["x.py", "--config", str(path)])
    assert cli.parse_config(Named, "test", shortcuts=shortcuts)[0].name == "here"


def test_a_run_directory_refuses_another_configuration(tmp_path: Path) -> None:
    directory = cli.open_run_directory(tmp_path / "run", Experiment(steps=1))
    assert load_config(directory / "config.yaml", Experiment) == Experiment(steps=1)
    with pytest.raises(InputError, match=r"seed was 0, now 1"):
        cli.open_run_directory(directory, Experiment(seed=1))
    assert load_config(directory / "config.yaml", Experiment) == Experiment(steps=1)
    cli.open_run_directory(directory, Experiment(steps=9), may_differ=("steps",))
    assert load_config(directory / "config.yaml", Experiment).steps == 9


def test_a_run_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        cli.open_run_directory(tmp_path / "run", Experiment())
