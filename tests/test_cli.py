import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from radiodiff import cli
from radiodiff.config import Settings, load_config
from radiodiff.errors import InputError
from radiodiff.files import replacing


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


def stopped_by(main: Callable[[], None]) -> int | str | None:
    with pytest.raises(SystemExit) as exit_info:
        cli.run_main(main)
    return exit_info.value.code


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_leaves_one_line_a_status_and_no_half_file(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
    line: str,
) -> None:
    def main() -> None:
        with replacing(tmp_path / "map.png") as temporary:
            temporary.write_bytes(b"half")
            signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)
    # A shell makes its background jobs ignore SIGINT, which they hand on.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert stopped_by(main) == status
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert capsys.readouterr().err == f"{line}\n"
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", cli.NO_ROOM)
def test_a_full_disk_is_one_line_where_python_does_not_name_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def main() -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr(cli, "_discard_stdout", lambda: None)
    assert stopped_by(main) == 2
    assert capsys.readouterr().err == "error: no room\n"


SCRIPT = """
import sys
from radiodiff.cli import run_main
run_main(lambda: print("x" * 100_000 if "long" in sys.argv else "short"))
"""


@pytest.mark.parametrize("length", ["short", "long"])
def test_a_reader_that_has_closed_stdout_is_no_error(length: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, length], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")
