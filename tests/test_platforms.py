"""The package does without what Windows and macOS lack; these machines are not in the CI."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = (
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "syslog",
    "termios",
    "tty",
)
NAMES = {
    "os": {
        "chroot", "fork", "forkpty", "geteuid", "getgid", "getpgid", "getpgrp", "getuid", "killpg",
        "mkfifo", "nice", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "setpgid",
        "setpgrp", "setsid", "setuid", "sysconf", "uname", "wait", "waitpid",
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "alarm", "pause"},
    "time": {"clock_gettime", "tzset"},
}  # fmt: skip
"""Module -> what only POSIX systems have of it."""
IMPORT_ALL = """
import builtins, importlib, pkgutil
import radiodiff
original = builtins.__import__
def refusing(name, globals=None, *rest, **named):
    if (globals or {{}}).get("__name__", "").startswith("radiodiff") and name in {modules!r}:
        raise ImportError(f"no module named {{name}} on Windows")
    return original(name, globals, *rest, **named)
builtins.__import__ = refusing
found = list(pkgutil.walk_packages(radiodiff.__path__, "radiodiff."))
for module in found:
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "plotly"):  # the extra app
            raise
from pathlib import Path
from radiodiff import memory
memory.STATUS = Path("no such file")
try:
    print(len(found), memory.peak_memory() > 0)
except ImportError as error:
    print(error)
"""


def sources() -> list[Path]:
    return [*(ROOT / "radiodiff").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]


def posix_names(text: str) -> set[str]:
    """Names that only POSIX systems have, used without a look whether they exist."""
    tree = ast.parse(text)
    used, guarded = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NAMES.get(node.value.id, ()):
                used.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "hasattr":
            guarded.add(f"{ast.unparse(node.args[0])}.{ast.literal_eval(node.args[1])}")
    return used - guarded


def test_the_search_finds_what_is_not_guarded() -> None:
    assert posix_names("import os\nos.fork()") == {"os.fork"}
    assert not posix_names("import os\nif hasattr(os, 'fork'):\n    os.fork()")


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_nothing_that_only_posix_systems_have_is_called(path: Path) -> None:
    assert not posix_names(path.read_text(encoding="utf-8"))


def test_text_files_are_opened_with_an_encoding() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".read_text"):
                assert any(k.arg == "encoding" for k in node.keywords), (path, node.lineno)


def test_everything_is_imported_without_the_modules_of_posix() -> None:
    code = IMPORT_ALL.format(modules=MODULES)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    count, measured = result.stdout.split()
    assert int(count) > 150
    assert measured == "True"
