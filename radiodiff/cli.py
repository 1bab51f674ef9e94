"""What every script shares: command line, run directory, and how errors leave the program."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

import radiodiff
from radiodiff.config import Settings, SettingsT, load_config, save_config
from radiodiff.config_keys import config_keys, format_keys
from radiodiff.errors import InputError
from radiodiff.shipped import CONFIGS, config_names, find_config
from radiodiff.yaml_text import parse_yaml, read_text

if TYPE_CHECKING:
    import torch

WORKER_PREFIX = f"{InputError.__module__}.{InputError.__qualname__}: "
"""How a traceback introduces the message of an InputError."""
MAX_MESSAGE = 2000
"""Characters of an error that are printed."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a write that Python reports without the name of the file."""


def parse_config(
    model: type[SettingsT],
    description: str,
    default_config: str | None = None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    shortcuts: Mapping[str, str] | None = None,
) -> tuple[SettingsT, argparse.Namespace]:
    """Read ``--config FILE.yaml key.path=value ...`` and print the resolved configuration once.

    Args:
        model: the configuration model of the script.
        description: shown by ``--help``.
        default_config: the file, or the shipped name, used when ``--config`` is not given; None
            makes it required.
        add_arguments: adds the script's own options to the parser.
        shortcuts: option -> key it sets, such as ``{"--data": "data.root"}``.

    Raises:
        InputError: no configuration is given and none is shipped as the default, or it is wrong.
    """
    shortcuts = {} if shortcuts is None else shortcuts
    parser = _Parser(model, description)
    parser.add_argument(
        "--config",
        default=default_config,
        metavar="FILE.yaml",
        help="the configuration, or the name of a shipped one"
        + (f"; {default_config} if not given" if default_config else ""),
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="a value instead of the file's"
    )
    if add_arguments is not None:
        add_arguments(parser)
    for option, key in shortcuts.items():
        parser.add_argument(option, dest=key, metavar="VALUE", help=f"short for {key}=VALUE")
    arguments = parser.parse_intermixed_args()
    if arguments.config is None:
        shipped = ", ".join(shipped_configs(model))
        raise InputError(f"--config FILE.yaml is needed; shipped for this command: {shipped}")
    given = {key: getattr(arguments, key) for key in shortcuts.values()}
    # A JSON string is a YAML string, whatever the value holds.
    set_keys = [f"{key}={json.dumps(text)}" for key, text in given.items() if text is not None]
    config = load_config(arguments.config, model, [*arguments.overrides, *set_keys])
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip(), flush=True)
    return config, arguments


def config_has(key: str) -> bool:
    """Tell whether the configuration that the command line names has a key at its top."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config", type=Path)
    path = parser.parse_known_args()[0].config
    if path is None:
        return False
    try:
        path = find_config(path)
        content = parse_yaml(read_text(path), where=str(path))
    except InputError:
        return False  # reported where the configuration is read
    return isinstance(content, dict) and key in content


class _Parser(argparse.ArgumentParser):
    """A parser whose help also lists the keys of the configuration."""

    def __init__(self, model: type[Settings], description: str) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._model = model

    def format_help(self) -> str:
        """Return argparse's own text, the keys, and the shipped configurations."""
        width = shutil.get_terminal_size().columns
        shipped = "\n".join(f"  {name}" for name in shipped_configs(self._model))
        return (
            f"{super().format_help()}\nkeys of the configuration:\n"
            f"{format_keys(config_keys(self._model), width)}\n"
            f"\nshipped configurations of this command:\n{shipped}\n"
        )


def shipped_configs(model: type[Settings]) -> list[str]:
    """Return the names of the shipped configurations that ``model`` reads."""
    return [name for name in config_names() if _fits(name, model)]


def _fits(name: str, model: type[Settings]) -> bool:
    try:
        load_config(CONFIGS / f"{name}.yaml", model)
    except InputError:
        return False
    return True


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add ``--resume`` to a training script."""
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest complete checkpoint"
    )


class _TerminatedError(BaseException):
    """SIGTERM has come; like KeyboardInterrupt it passes by ``except Exception``."""


@contextmanager
def _terminated_as_error() -> Iterator[None]:
    """Raise at SIGTERM, so that what is half written is removed. Forked processes just end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == process:
            raise _TerminatedError
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a script's ``main``; what is no bug becomes one line on stderr and a status of its own.

    The status is 0, 2 after a mistake of the user or a full disk, 130 after SIGINT, 143 after
    SIGTERM, and 141 where the reader of stdout has closed it.
    """
    try:
        with _terminated_as_error():
            main()
            if sys.stdout is not None:
                sys.stdout.flush()
    except InputError as error:
        # A DataLoader worker wraps the error in its traceback, which ends with the message itself.
        message = " ".join(str(error).rpartition(WORKER_PREFIX)[2].split())
        print(f"error: {message[:MAX_MESSAGE]}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except _TerminatedError:
        print("terminated", file=sys.stderr)
        sys.exit(143)
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(141)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        if error.errno in NO_ROOM:
            _discard_stdout()  # it may be what is full, and is flushed once more at the end
        sys.exit(2)
    sys.exit(0)


def _discard_stdout() -> None:
    """Send what stdout still holds nowhere."""
    if sys.stdout is not None:
        with suppress(io.UnsupportedOperation):  # no file, as in a notebook
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def provenance(config: Settings, device: str | torch.device) -> dict[str, Any]:
    """Return what made a result: versions, git revision, device and the whole configuration."""
    # Importing it takes seconds, which a map without a network need not wait for.
    loaded = sys.modules.get("torch")
    return {
        "radiodiff": radiodiff.__version__,
        "git_revision": _git_revision(),
        "torch": version("torch") if loaded is None else str(loaded.__version__),
        "device": str(device),
        "machine": platform.processor() or platform.machine(),
        "config": config.model_dump(mode="json"),
    }


def open_run_directory(
    directory: str | Path, config: Settings, may_differ: Sequence[str] = ()
) -> Path:
    """Create ``directory`` with the resolved ``config.yaml`` in it.

    Args:
        directory: the run directory; may hold an earlier run of the same configuration.
        config: the resolved configuration.
        may_differ: key paths in which an earlier run may differ (its length, say).

    Raises:
        InputError: the directory cannot be written, or holds a run of another configuration.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(directory)!r:.200}: cannot be written ({reason})") from None
    check_run_directory(directory, config, may_differ)
    save_config(config, directory / "config.yaml")
    return directory


def check_run_directory(
    directory: str | Path, config: Settings, may_differ: Sequence[str] = ()
) -> None:
    """Refuse a run directory that holds a run of another configuration; see above.

    Raises:
        InputError: naming the key that differs.
    """
    for key, (was, now) in config_changes(directory, config).items():
        if key not in may_differ:
            raise InputError(
                f"{directory}: holds a run of another configuration ({key} was {was!r}, now "
                f"{now!r}); choose another output directory or remove this one"
            )


def config_changes(directory: str | Path, config: Settings) -> dict[str, tuple[object, object]]:
    """Return key path -> (value of the run that a directory holds, value now) where they differ.

    Two paths of one file or folder do not differ.

    Raises:
        InputError: the directory's configuration cannot be read.
    """
    resolved = Path(directory) / "config.yaml"
    if not resolved.is_file():
        return {}
    try:
        found = _flatten(yaml.safe_load(resolved.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{resolved}: damaged; remove the folder or choose another") from None
    wanted = _flatten(config.model_dump(mode="json"))
    return {
        key: (found.get(key), wanted.get(key))
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key) and not _same_place(found.get(key), wanted.get(key))
    }


def _same_place(one: object, other: object) -> bool:
    """Whether two values are paths, relative and absolute maybe, of one thing that exists."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def _flatten(value: object, path: str = "") -> dict[str, object]:
    """Return a nested mapping as {"a.b.c": value}; lists count as values."""
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf
        for name, entry in value.items()
        for key, leaf in _flatten(entry, f"{path}.{name}" if path else str(name)).items()
    }


def _git_revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
